"""OpenAI's streams: chat and the older completions by deltas, Responses by typed events.

Comes in: the events of one reply. Goes out: what they add up to, as an unstreamed call would have been answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.providers.streams.base import Whole, append, join, objects
from worker.providers.streams.sse import DONE, Event

__all__ = ["assemble_chat", "assemble_responses"]

_JOINED = ("content", "reasoning_content", "reasoning", "refusal", "text")
_KEPT = ("id", "object", "created", "model", "service_tier", "system_fingerprint", "provider", "metadata", "x_groq")


def assemble_chat(events: Iterable[Event]) -> Whole:
    """Chat completions and the older completions: pieces by ``choices[].index``, tool calls by their ``index``.

    The stream is whole with ``[DONE]``, or with a finish for each choice and the usage: then nothing can be missing.
    """
    document: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    usage: Any = None
    done = False
    for event in events:
        if event.data == DONE:
            done = True
            break
        chunk = event.data
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error") or event.name == "error":
            return Whole(error=chunk if chunk.get("error") else {"error": chunk}, begun=bool(choices))
        for name in _KEPT:
            if chunk.get(name) is not None:
                document[name] = chunk[name]
        for piece in objects(chunk.get("choices")):
            _add_choice(choices, piece)
            usage = piece.get("usage") or usage
        usage = chunk.get("usage") or usage
    finished = bool(choices) and all(choice.get("finish_reason") for choice in choices.values())
    if not (done and (choices or usage)) and not (finished and usage):
        return Whole(begun=bool(choices))
    if str(document.get("object", "")).endswith(".chunk"):
        document["object"] = "chat.completion"
    document["choices"] = [_closed(choices[index]) for index in sorted(choices)]
    document["usage"] = usage
    return Whole(document, begun=True)


def _add_choice(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index")
    choice = choices.setdefault(index if isinstance(index, int) else 0, {"index": index or 0})
    for name in ("finish_reason", "native_finish_reason", "stop_reason", "matched_stop"):
        if piece.get(name) is not None:
            choice[name] = piece[name]
    if isinstance(piece.get("text"), str):
        append(choice, "text", piece["text"])
    logprobs = piece.get("logprobs")
    if isinstance(logprobs, dict):
        kept = choice.setdefault("logprobs", {})
        for name, values in logprobs.items():
            if isinstance(values, list):
                kept.setdefault(name, []).extend(values)
    delta = piece.get("delta")
    if isinstance(delta, dict):
        _add_delta(choice.setdefault("message", {"role": "assistant", "content": None}), delta)


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name in _JOINED and isinstance(value, str):
            append(message, name, value)
        elif name == "tool_calls":
            for call in objects(value):
                _add_call(message.setdefault("tool_calls", {}), call)
        elif name == "content" and isinstance(value, list):
            append(message, name, "".join(str(part.get("text") or "") for part in objects(value)))
        elif name != "role" and value is not None:
            message[name] = value


def _add_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    """A piece of a tool call; hosts that send no index send each call whole."""
    index = piece.get("index")
    call = calls.setdefault(index if isinstance(index, int) else len(calls), {"id": "", "type": "function"})
    if piece.get("id"):
        call["id"] = piece["id"]
    function = piece.get("function")
    if isinstance(function, dict):
        kept = call.setdefault("function", {"name": "", "arguments": ""})
        if isinstance(function.get("name"), str) and function["name"]:
            kept["name"] = function["name"]
        if isinstance(function.get("arguments"), str):
            append(kept, "arguments", function["arguments"])


def _closed(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if isinstance(message, dict) and isinstance(message.get("tool_calls"), dict):
        calls = message["tool_calls"]
        message["tool_calls"] = [join(calls[index]) for index in sorted(calls)]
        for call in message["tool_calls"]:
            if isinstance(call.get("function"), dict):
                join(call["function"])
    if isinstance(message, dict):
        join(message)
    choice.setdefault("finish_reason", None)
    return join(choice)


def assemble_responses(events: Iterable[Event]) -> Whole:
    """OpenAI's Responses: the closing event carries the whole response."""
    begun = False
    for event in events:
        data = event.data
        if not isinstance(data, dict):
            continue
        kind = str(data.get("type") or event.name)
        response = data.get("response")
        if kind in ("response.completed", "response.incomplete", "response.failed") and isinstance(response, dict):
            return Whole(response, begun=True)
        if kind == "error" or data.get("error"):
            return Whole(error=data if isinstance(data.get("error"), dict) else {"error": data}, begun=begun)
        begun = begun or kind.startswith("response.output")
    return Whole(begun=begun)
