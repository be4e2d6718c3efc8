"""A stream's events put together to the one answer that the call would have given unstreamed.

Comes in: the events of one reply. Goes out: ``Whole``: the answer, or the error that came in its middle, or word that
it broke off. One function a wire: OpenAI's chat and completions by deltas, its Responses and Anthropic's Messages by
typed events, Google's by growing parts. Called by the adapters, which judge the answer as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.providers.sse import DONE, Event

__all__ = ["Whole", "assemble_chat", "assemble_generate", "assemble_messages", "assemble_responses"]


@dataclass(frozen=True, slots=True)
class Whole:
    """What a stream came to. Neither document nor error: it broke off. ``begun`` tells whether any of it had come."""

    document: dict[str, Any] | None = None
    error: Any = None  #: a document with the error, as an unstreamed reply would hold it
    begun: bool = False


class _Pieces(list[str]):
    """A text while it still grows: thousands of small pieces, joined once at the end."""


def _append(holder: dict[str, Any], name: str, piece: str) -> None:
    pieces = holder.get(name)
    if type(pieces) is not _Pieces:
        pieces = holder[name] = _Pieces([pieces] if isinstance(pieces, str) else [])
    pieces.append(piece)


def _join(holder: dict[str, Any]) -> dict[str, Any]:
    for name, value in holder.items():
        if type(value) is _Pieces:
            holder[name] = "".join(value)
    return holder


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
        for piece in _objects(chunk.get("choices")):
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
        _append(choice, "text", piece["text"])
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
            _append(message, name, value)
        elif name == "tool_calls":
            for call in _objects(value):
                _add_call(message.setdefault("tool_calls", {}), call)
        elif name == "content" and isinstance(value, list):
            _append(message, name, "".join(str(part.get("text") or "") for part in _objects(value)))
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
            _append(kept, "arguments", function["arguments"])


def _closed(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if isinstance(message, dict) and isinstance(message.get("tool_calls"), dict):
        calls = message["tool_calls"]
        message["tool_calls"] = [_join(calls[index]) for index in sorted(calls)]
        for call in message["tool_calls"]:
            if isinstance(call.get("function"), dict):
                _join(call["function"])
    if isinstance(message, dict):
        _join(message)
    choice.setdefault("finish_reason", None)
    return _join(choice)


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


def assemble_messages(events: Iterable[Event]) -> Whole:
    """Anthropic's Messages: blocks by index; the start has the input's counts, the last delta the output's."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        data = event.data
        if not isinstance(data, dict):
            continue
        match data.get("type"):
            case "message_start" if isinstance(data.get("message"), dict):
                message = dict(data["message"])
            case "content_block_start" if isinstance(data.get("content_block"), dict):
                blocks[_index(data)] = dict(data["content_block"])
            case "content_block_delta" if isinstance(data.get("delta"), dict):
                _add_block(blocks.setdefault(_index(data), {"type": "text", "text": ""}), data["delta"])
            case "message_delta":
                message.update(_present(data.get("delta")))
                message["usage"] = {**_present(message.get("usage")), **_present(data.get("usage"))}
            case "error":
                return Whole(error=data, begun=bool(blocks))
            case "message_stop" if message:
                message["content"] = [_closed_block(blocks[index]) for index in sorted(blocks)]
                return Whole(message, begun=True)
            case _:
                pass
    return Whole(begun=bool(blocks))


def _index(data: Mapping[str, Any]) -> int:
    index = data.get("index")
    return index if isinstance(index, int) else 0


def _present(value: Any) -> dict[str, Any]:
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else {}


def _add_block(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("text", "thinking", "signature", "partial_json"):
        if isinstance(delta.get(name), str):
            _append(block, name, delta[name])
    if delta.get("citation") is not None:
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def _closed_block(block: dict[str, Any]) -> dict[str, Any]:
    from worker.providers.forms.shapes import arguments_object

    text = _join(block).pop("partial_json", None)
    if text is not None:
        arguments = arguments_object(text)
        block["input"] = arguments if isinstance(arguments, dict) else {"arguments": arguments}
    return block


def assemble_generate(events: Iterable[Event]) -> Whole:
    """Google's: parts add up, the counts are running totals. Whole when each candidate has its reason to end."""
    document: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for event in events:
        chunk = event.data
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error"):
            return Whole(error=chunk, begun=bool(candidates))
        for piece in _objects(chunk.get("candidates")):
            candidate = candidates.setdefault(_index(piece), {"index": _index(piece)})
            content = piece.get("content")
            candidate.update({name: one for name, one in _present(piece).items() if name != "content"})
            kept = candidate.setdefault("content", {"role": "model", "parts": []})
            if isinstance(content, dict):
                for part in _objects(content.get("parts")):
                    _add_part(kept["parts"], part)
        document.update({name: one for name, one in _present(chunk).items() if name != "candidates"})
    blocked = isinstance(document.get("promptFeedback"), dict) and document["promptFeedback"].get("blockReason")
    finished = bool(candidates) and all(candidate.get("finishReason") for candidate in candidates.values())
    if not blocked and not finished:
        return Whole(begun=bool(candidates))
    if candidates:
        document["candidates"] = [candidates[index] for index in sorted(candidates)]
        for candidate in candidates.values():
            for part in candidate["content"]["parts"]:
                _join(part)
    return Whole(document, begun=True)


def _add_part(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Text goes on in the last part where both are text of one kind and neither is signed."""
    last = parts[-1] if parts else None
    plain = set(part) <= {"text", "thought"} and isinstance(part.get("text"), str)
    if last is not None and plain and set(last) <= {"text", "thought"} and last.get("thought") == part.get("thought"):
        _append(last, "text", part["text"])
    else:
        parts.append(dict(part))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
