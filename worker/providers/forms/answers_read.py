"""Answers of each wire, read.

Comes in: a parsed answer that has passed its wire's verdict, its counts, and the reply's time. Goes out: ``Told``.
Called where the wire's form is not the form of the line's url.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bucketline.usage import Usage
from worker.providers.forms.generate_read import generate_parts
from worker.providers.forms.members import Members
from worker.providers.forms.shapes import arguments_object
from worker.providers.neutral import Candidate, Finish, Part, Refusal, Text, Thought, Told, ToolUse

__all__ = ["AnswerReader", "read_chat_answer", "read_converse_answer", "read_generate_answer", "read_messages_answer"]

AnswerReader = Callable[[dict[str, Any], "Usage | None", str, int], Told]

_FINISH: Mapping[str, Finish] = MappingProxyType(
    {
        "length": "length",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "MAX_TOKENS": "length",
        "tool_calls": "tool_calls",
        "function_call": "tool_calls",
        "tool_use": "tool_calls",
        "content_filter": "content_filter",
    }
)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _finish(native: Any, parts: tuple[Part, ...]) -> Finish:
    """The word all forms share; a call of a tool is one, whatever the provider calls the end (Google says STOP)."""
    finish = _FINISH.get(str(native), "stop")
    if finish == "stop" and any(isinstance(part, ToolUse) for part in parts):
        return "tool_calls"
    return finish


def _told(document: dict[str, Any], candidates: list[Candidate], usage: Usage | None, model: str, at_s: int) -> Told:
    created, tier = document.get("created"), document.get("service_tier")
    return Told(
        id=str(document.get("id") or document.get("responseId") or ""),
        model=str(document.get("model") or document.get("modelVersion") or model),
        candidates=tuple(candidates),
        usage=usage,
        created_s=created if isinstance(created, int) else at_s,
        tier=tier if isinstance(tier, str) else None,
    )


def read_chat_answer(document: dict[str, Any], usage: Usage | None, model: str, at_s: int) -> Told:
    """OpenAI's chat completion; reasoning in ``reasoning_content`` or ``reasoning``, content as text or as parts."""
    candidates = []
    for choice in _objects(document.get("choices")):
        message = _object(choice.get("message"))
        parts: list[Part] = []
        thought = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thought, str):
            parts.append(Thought(thought))
        content = message.get("content")
        if isinstance(content, str) and content:
            parts.append(Text(content))
        parts.extend(Text(part["text"]) for part in _objects(content) if isinstance(part.get("text"), str))
        if isinstance(message.get("refusal"), str):
            parts.append(Refusal(message["refusal"]))
        for call in _objects(message.get("tool_calls")):
            function = _object(call.get("function"))
            arguments = arguments_object(function.get("arguments"))
            parts.append(ToolUse(str(call.get("id") or ""), str(function.get("name") or ""), arguments))
        candidates.append(_candidate(tuple(parts), choice.get("finish_reason")))
    return _told(document, candidates, usage, model, at_s)


def _candidate(parts: tuple[Part, ...], native: Any) -> Candidate:
    return Candidate(parts, _finish(native, parts), native if isinstance(native, str) else None)


def read_messages_answer(document: dict[str, Any], usage: Usage | None, model: str, at_s: int) -> Told:
    """Anthropic's Message; blocks of types that no other form has are left out."""
    parts: list[Part] = []
    for block in _objects(document.get("content")):
        match block.get("type"):
            case "text":
                parts.append(Text(str(block.get("text") or "")))
            case "thinking":
                parts.append(Thought(str(block.get("thinking") or "")))
            case "tool_use":
                arguments = arguments_object(block.get("input"))
                parts.append(ToolUse(str(block.get("id") or ""), str(block.get("name") or ""), arguments))
            case _:
                pass
    native, sequence = document.get("stop_reason"), document.get("stop_sequence")
    whole = tuple(parts)
    candidate = Candidate(
        whole,
        _finish(native, whole),
        native if isinstance(native, str) else None,
        sequence if isinstance(sequence, str) else None,
    )
    return _told(document, [candidate], usage, model, at_s)


def read_generate_answer(document: dict[str, Any], usage: Usage | None, model: str, at_s: int) -> Told:
    """Google's GenerateContentResponse; calls without an id get one."""
    candidates = []
    for candidate in _objects(document.get("candidates")):
        content = Members(_object(candidate.get("content")))
        parts: list[Part] = []
        for part in generate_parts(content):
            if isinstance(part, ToolUse) and not part.id:
                parts.append(ToolUse(f"call_{len(parts)}", part.name, part.arguments))
            else:
                parts.append(part)
        candidates.append(_candidate(tuple(parts), candidate.get("finishReason")))
    return _told(document, candidates, usage, model, at_s)


def read_converse_answer(document: dict[str, Any], usage: Usage | None, model: str, at_s: int) -> Told:
    """Bedrock's Converse answer, which names neither itself nor its model."""
    message = _object(_object(document.get("output")).get("message"))
    parts: list[Part] = []
    for block in _objects(message.get("content")):
        cited = _objects(_object(block.get("citationsContent")).get("content"))
        parts.extend(Text(one["text"]) for one in (block, *cited) if isinstance(one.get("text"), str))
        use = block.get("toolUse")
        if isinstance(use, dict):
            arguments = arguments_object(use.get("input"))
            parts.append(ToolUse(str(use.get("toolUseId") or ""), str(use.get("name") or ""), arguments))
        thought = _object(_object(block.get("reasoningContent")).get("reasoningText")).get("text")
        if isinstance(thought, str):
            parts.append(Thought(thought))
    candidate = _candidate(tuple(parts), document.get("stopReason"))
    tier = _object(document.get("serviceTier")).get("type")
    return _told({"service_tier": tier}, [candidate], usage, model, at_s)
