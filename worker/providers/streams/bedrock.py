"""Bedrock's ConverseStream: blocks by index, the reason to end in one event, the counts in the last.

Comes in: the events of one reply. Goes out: the Converse answer that an unstreamed call would have given. Source: the
service model of ``bedrock-runtime`` that botocore carries.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.providers.forms.shapes import arguments_object
from worker.providers.streams.base import Whole, append, index_of, join, present
from worker.providers.streams.sse import Event

__all__ = ["assemble_converse"]


def assemble_converse(events: Iterable[Event]) -> Whole:
    """Whole with ``messageStop`` and the ``metadata`` that comes after it."""
    document: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant"}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        data = event.data
        if not isinstance(data, dict):
            continue
        if data.get("error"):
            return Whole(error=data, begun=bool(blocks))
        block = blocks.setdefault(index_of(data, "contentBlockIndex"), {}) if "contentBlockIndex" in data else {}
        match event.name:
            case "messageStart":
                message.update(present(data))
            case "contentBlockStart":
                block.update(_parts(data.get("start")))
            case "contentBlockDelta":
                _grow(block, data.get("delta"))
            case "messageStop":
                document.update(present(data))
            case "metadata" if "stopReason" in document:
                message["content"] = [_closed(blocks[index]) for index in sorted(blocks)]
                return Whole({"output": {"message": message}, **document, **present(data)}, begun=True)
            case _:
                pass
    return Whole(begun=bool(blocks))


def _parts(start: Any) -> dict[str, Any]:
    """The first of a block: copied, since it will grow."""
    return {name: dict(one) if isinstance(one, dict) else one for name, one in present(start).items()}


def _grow(block: dict[str, Any], delta: Any) -> None:
    """One more piece. Text, a tool's arguments and shown reasoning grow; what comes whole is kept as it is."""
    for name, piece in present(delta).items():
        if name == "text" and isinstance(piece, str):
            append(block, "text", piece)
        elif name == "toolUse" and isinstance(piece, dict):
            append(block.setdefault("toolUse", {}), "input", str(piece.get("input") or ""))
        elif name == "reasoningContent" and isinstance(piece, dict):
            _reason(block.setdefault("reasoningContent", {}), piece)
        elif name == "citation":
            block.setdefault("citations", []).append(piece)
        else:
            block[name] = piece


def _reason(kept: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, one in piece.items():
        if name in ("text", "signature") and isinstance(one, str):
            append(kept.setdefault("reasoningText", {}), name, one)
        else:
            kept[name] = one


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    """The block as it stands in an unstreamed answer: arguments parsed, cited text under its own name."""
    join(block)
    use, reasoning, cited = block.get("toolUse"), block.get("reasoningContent"), block.pop("citations", None)
    if isinstance(use, dict):
        use["input"] = arguments_object(join(use).get("input"))
    if isinstance(reasoning, dict) and isinstance(reasoning.get("reasoningText"), dict):
        join(reasoning["reasoningText"])
    if cited is None:
        return block
    return {"citationsContent": {"content": [{"text": block.pop("text", "")}], "citations": cited}, **block}
