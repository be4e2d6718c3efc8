"""Answers in each form that a line can have, written.

Comes in: ``Told``. Goes out: the body that the line's own API would have answered with, as its SDK reads it. The
provider's own word for the end is kept beside the mapped one. Called where the wire's form is not the line's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bucketline.request import Form
from bucketline.usage import Usage
from worker.providers.forms.shapes import arguments_text, chat_calls
from worker.providers.neutral import Candidate, Refusal, Text, Thought, Told, ToolUse

__all__ = ["ANSWER_WRITERS"]


def _words(candidate: Candidate, kind: type[Text | Thought | Refusal]) -> str:
    return "".join(part.text for part in candidate.parts if isinstance(part, kind))


def _calls(candidate: Candidate) -> list[ToolUse]:
    return [part for part in candidate.parts if isinstance(part, ToolUse)]


def _native(candidate: Candidate, mapped: str) -> dict[str, str]:
    """The provider's own word, where it is another than the mapped one."""
    return {"native_finish_reason": candidate.native} if candidate.native and candidate.native != mapped else {}


def _chat(told: Told) -> dict[str, Any]:
    choices = []
    for index, candidate in enumerate(told.candidates):
        message: dict[str, Any] = {
            "role": "assistant",
            "content": _words(candidate, Text) or None,
            "refusal": _words(candidate, Refusal) or None,
        }
        thought, calls = _words(candidate, Thought), _calls(candidate)
        if thought:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = chat_calls(calls)
        finish = candidate.finish
        choice = {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
        choices.append({**choice, **_native(candidate, finish)})
    body: dict[str, Any] = {
        "id": told.id or "chatcmpl-translated",
        "object": "chat.completion",
        "created": told.created_s,
        "model": told.model,
        "choices": choices,
        "usage": _chat_usage(told.usage),
    }
    return body


def _chat_usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _responses(told: Told) -> dict[str, Any]:
    candidate = told.candidates[0]
    output: list[dict[str, Any]] = []
    thought, text, refusal = (_words(candidate, kind) for kind in (Thought, Text, Refusal))
    if thought:
        summary = [{"type": "summary_text", "text": thought}]
        output.append({"type": "reasoning", "id": f"rs_{told.id}", "summary": summary})
    if text or refusal:
        content: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
        if not text:
            content = {"type": "refusal", "refusal": refusal}
        message = {"type": "message", "id": f"msg_{told.id}", "role": "assistant", "status": "completed"}
        output.append({**message, "content": [content]})
    for at, call in enumerate(_calls(candidate)):
        function = {"name": call.name, "arguments": arguments_text(call.arguments)}
        output.append(
            {"type": "function_call", "id": f"fc_{told.id}_{at}", "call_id": call.id, **function, "status": "completed"}
        )
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(candidate.finish)
    return {
        "id": f"resp_{told.id}",
        "object": "response",
        "created_at": told.created_s,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "model": told.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": None,
        "top_p": None,
        "tool_choice": "auto",
        "tools": [],
        "usage": _responses_usage(told.usage),
        **_native(candidate, candidate.finish),
    }


def _responses_usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    inside = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": inside,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _messages(told: Told) -> dict[str, Any]:
    candidate = told.candidates[0]
    content: list[dict[str, Any]] = []
    for part in candidate.parts:
        match part:
            case Thought(text):
                content.append({"type": "thinking", "thinking": text, "signature": ""})
            case Text(text) | Refusal(text):
                content.append({"type": "text", "text": text})
            case ToolUse(call_id, name, arguments):
                given = {"arguments": arguments} if isinstance(arguments, str) else dict(arguments)
                content.append({"type": "tool_use", "id": call_id, "name": name, "input": given})
            case _:
                pass
    reason = "stop_sequence" if candidate.stop_sequence else _STOP_REASONS[candidate.finish]
    return {
        "id": told.id or "msg_translated",
        "type": "message",
        "role": "assistant",
        "model": told.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": candidate.stop_sequence,
        "usage": _messages_usage(told.usage or Usage()),
        **_native(candidate, reason),
    }


def _messages_usage(usage: Usage) -> dict[str, Any]:
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    return {
        "input_tokens": plain,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }


_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}


def _generate(told: Told) -> dict[str, Any]:
    candidates = []
    for index, candidate in enumerate(told.candidates):
        parts: list[dict[str, Any]] = []
        for part in candidate.parts:
            match part:
                case Thought(text):
                    parts.append({"text": text, "thought": True})
                case Text(text) | Refusal(text):
                    parts.append({"text": text})
                case ToolUse(call_id, name, arguments):
                    given = {"arguments": arguments} if isinstance(arguments, str) else dict(arguments)
                    parts.append({"functionCall": {"id": call_id, "name": name, "args": given}})
                case _:
                    pass
        reason = _FINISH_REASONS[candidate.finish]
        made = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": index}
        native = _native(candidate, reason).get("native_finish_reason")
        candidates.append({**made, "finishMessage": native} if native else made)
    body: dict[str, Any] = {"candidates": candidates, "modelVersion": told.model, "responseId": told.id}
    if told.usage is not None:
        body["usageMetadata"] = _generate_usage(told.usage)
    return body


def _generate_usage(usage: Usage) -> dict[str, Any]:
    return {
        "promptTokenCount": usage.input_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
    }


#: the form of a line → the writer of its answer
ANSWER_WRITERS: Mapping[Form, Callable[[Told], dict[str, Any]]] = MappingProxyType(
    {Form.CHAT: _chat, Form.RESPONSES: _responses, Form.MESSAGES: _messages, Form.GENERATE: _generate}
)
