"""Whether a 200 of OpenAI's wire is an answer: one test for each endpoint.

Comes in: a parsed body without an error in it. Goes out: ``(None, finish_reason)`` for an answer, ``(kind,
finish_reason)`` for what only looks like one: no choices, a refusal, a filter's stop, a cap used up before the first
word. A ``length`` with content is an answer. Called by the ``openai`` adapter and on streams put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bucketline.failure import Kind
from bucketline.request import Form

__all__ = ["VERDICTS", "Verdict"]

Verdict = tuple[Kind | None, str | None]

_BROKEN = frozenset({"error", "abort", "insufficient_system_resource"})
_FILTERED = frozenset({"content_filter", "safety"})


def chat(body: dict[str, Any]) -> Verdict:
    """Chat completions. With several choices one good one is enough; the first bad one speaks otherwise."""
    return _choices(body, _chat_choice)


def completions(body: dict[str, Any]) -> Verdict:
    """The older completions: ``choices[].text``."""
    return _choices(body, lambda choice: (bool(choice.get("text")), None))


def responses(body: dict[str, Any]) -> Verdict:
    """OpenAI's Responses: the status, then whether any item is text or a tool call."""
    status = body.get("status")
    output = body.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    if status == "incomplete":
        details = body.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        if reason == "content_filter":
            return Kind.CONTENT_FILTER, reason
        return None if _said(items) else Kind.TRUNCATED, "length" if reason == "max_output_tokens" else reason
    if status not in (None, "completed"):
        return Kind.ERROR_IN_200, str(status)
    if any(item.get("type") not in ("message", "reasoning") for item in items):
        return None, "tool_calls"
    if _said(items):
        return None, "stop"
    refused = any(part.get("type") == "refusal" for item in items for part in _parts(item))
    return Kind.REFUSAL if refused else Kind.EMPTY_ANSWER, "stop"


def embeddings(body: dict[str, Any]) -> Verdict:
    """Embeddings: at least one vector, and each entry has one."""
    data = body.get("data")
    if not isinstance(data, list) or not data:
        return Kind.EMPTY_ANSWER, None
    whole = all(isinstance(entry, dict) and entry.get("embedding") for entry in data)
    return None if whole else Kind.EMPTY_ANSWER, None


def _choices(body: dict[str, Any], look: Callable[[dict[str, Any]], tuple[bool, Kind | None]]) -> Verdict:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return Kind.EMPTY_ANSWER, None
    first: Verdict | None = None
    for choice in choices:
        verdict = _choice(choice, look)
        if verdict[0] is None:
            return verdict if first is None else (None, first[1])
        first = first or verdict
    return first or (Kind.EMPTY_ANSWER, None)


def _choice(choice: Any, look: Callable[[dict[str, Any]], tuple[bool, Kind | None]]) -> Verdict:
    if not isinstance(choice, dict):
        return Kind.EMPTY_ANSWER, None
    finish = choice.get("finish_reason")
    if finish is not None and type(finish) is not str:
        finish = str(finish)
    if finish in _FILTERED:
        return Kind.CONTENT_FILTER, finish
    if finish in _BROKEN or isinstance(choice.get("error"), dict):
        return Kind.ERROR_IN_200, finish
    said, otherwise = look(choice)
    if said:
        return None, finish
    return otherwise or (Kind.TRUNCATED if finish == "length" else Kind.EMPTY_ANSWER), finish


def _chat_choice(choice: dict[str, Any]) -> tuple[bool, Kind | None]:
    message = choice.get("message")
    if not isinstance(message, dict):
        return False, None
    if message.get("content") or message.get("tool_calls") or message.get("function_call") or message.get("audio"):
        return True, None
    return False, Kind.REFUSAL if message.get("refusal") else None


def _parts(item: dict[str, Any]) -> list[dict[str, Any]]:
    content = item.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _said(items: list[dict[str, Any]]) -> bool:
    return any(
        item.get("type") not in ("message", "reasoning") or any(part.get("text") for part in _parts(item))
        for item in items
        if item.get("type") != "reasoning"
    )


#: form → its test
VERDICTS: Mapping[Form, Callable[[dict[str, Any]], Verdict]] = MappingProxyType(
    {Form.CHAT: chat, Form.COMPLETIONS: completions, Form.RESPONSES: responses, Form.EMBEDDINGS: embeddings}
)
