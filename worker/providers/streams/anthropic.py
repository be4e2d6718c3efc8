"""Anthropic's streams of typed events.

Comes in: the events of one reply. Goes out: the Message that an unstreamed call would have been answered with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.providers.forms.shapes import arguments_object
from worker.providers.streams.base import Whole, append, index_of, join, present
from worker.providers.streams.sse import Event

__all__ = ["assemble_messages"]


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
                blocks[index_of(data)] = dict(data["content_block"])
            case "content_block_delta" if isinstance(data.get("delta"), dict):
                _add_block(blocks.setdefault(index_of(data), {"type": "text", "text": ""}), data["delta"])
            case "message_delta":
                message.update(present(data.get("delta")))
                message["usage"] = {**present(message.get("usage")), **present(data.get("usage"))}
            case "error":
                return Whole(error=data, begun=bool(blocks))
            case "message_stop" if message:
                message["content"] = [_closed_block(blocks[index]) for index in sorted(blocks)]
                return Whole(message, begun=True)
            case _:
                pass
    return Whole(begun=bool(blocks))


def _add_block(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("text", "thinking", "signature", "partial_json"):
        if isinstance(delta.get(name), str):
            append(block, name, delta[name])
    if delta.get("citation") is not None:
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def _closed_block(block: dict[str, Any]) -> dict[str, Any]:
    text = join(block).pop("partial_json", None)
    if text is not None:
        arguments = arguments_object(text)
        block["input"] = arguments if isinstance(arguments, dict) else {"arguments": arguments}
    return block
