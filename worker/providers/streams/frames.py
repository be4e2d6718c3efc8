"""Amazon's event stream (``application/vnd.amazon.eventstream``) out of a whole body.

Comes in: the bytes of a binary stream that has ended, well or badly. Goes out: its events, parsed. botocore reads the
frames and holds them against their checksums; a frame that is cut or damaged ends the stream, so that what it adds up to
has no end. A frame that tells an exception comes as an error document with the exception's name, as an unstreamed
refusal has it. Called as ``sse`` is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bucketline.splice import loads
from worker.providers.base import Reply
from worker.providers.streams.sse import Event

__all__ = ["frames", "is_framed"]

_TYPE = "application/vnd.amazon.eventstream"
_AT_ONCE_BYTES = 65536  #: botocore copies what is left after each frame, so it is not given a long stream whole
#: exception of a stream → the status it would have had before the stream began
_STATUSES = {"validationException": 400, "modelStreamErrorException": 424, "throttlingException": 429,
             "serviceUnavailableException": 503}  # fmt: skip


def is_framed(reply: Reply) -> bool:
    """Whether a body is a stream of binary frames."""
    return _TYPE in (reply.headers.get("content-type") or "").lower()


def frames(body: bytes) -> Iterator[Event]:
    """Every whole event in order."""
    from botocore.eventstream import EventStreamBuffer, ParserError

    buffer = EventStreamBuffer()
    read: Iterable[Any] = buffer
    try:
        for start in range(0, len(body), _AT_ONCE_BYTES):
            buffer.add_data(body[start : start + _AT_ONCE_BYTES])
            for frame in read:
                yield _event(frame.headers, frame.payload)
    except (ParserError, ValueError, KeyError, struct.error):  # KeyError: a header of a type that nobody knows
        return


def _event(headers: Mapping[str, Any], payload: bytes) -> Event:
    data = _parsed(payload)
    match headers.get(":message-type"):
        case "exception":
            name = str(headers.get(":exception-type") or "")
            told = {"type": name[:1].upper() + name[1:], "code": _STATUSES.get(name, 500)}
            said = data.get("message") if isinstance(data, dict) else None
            return Event(name, {"error": {**told, "message": said}})
        case "error":
            code, said = headers.get(":error-code"), headers.get(":error-message")
            return Event("error", {"error": {"type": code or "InternalFailure", "message": said}})
        case _:
            return Event(str(headers.get(":event-type") or ""), data)


def _parsed(payload: bytes) -> Any:
    try:
        return loads(payload)
    except ValueError:
        return None
