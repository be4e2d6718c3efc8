r"""Server-sent events out of a whole body.

Comes in: the bytes of a stream that has ended, well or badly. Goes out: its events, parsed. Blocks are split at blank
lines, with ``\r\n`` or ``\n``; comment lines (keep-alives) are skipped; several ``data:`` lines of a block are one.
Called by the adapters when a reply is a stream; what the events add up to is in ``streams``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from bucketline.splice import loads
from worker.providers.base import Reply

__all__ = ["DONE", "Event", "events", "is_stream"]

DONE = "[DONE]"  #: OpenAI's end marker, as the data of the last event


class Event(NamedTuple):
    """One event. ``data`` is parsed JSON, ``DONE``, or None for what is neither (half an event, say)."""

    name: str
    data: Any


def is_stream(reply: Reply) -> bool:
    """Whether a body that is not JSON is a stream of events."""
    if "event-stream" in (reply.headers.get("content-type") or "").lower():
        return bool(reply.body.strip())
    return reply.body[:64].lstrip().startswith((b"data:", b"event:", b": ", b"id:"))


def events(body: bytes) -> Iterator[Event]:
    """Every event in order. The last one may be cut: it comes with data None."""
    name = ""
    data: list[bytes] = []
    for line in body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if not line:
            if data:
                yield Event(name, _parsed(b"\n".join(data)))
            name, data = "", []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode("ascii", "replace")
    if data:
        yield Event(name, _parsed(b"\n".join(data)))


def _parsed(data: bytes) -> Any:
    if data.strip() == b"[DONE]":
        return DONE
    try:
        return loads(data)
    except ValueError:
        return None
