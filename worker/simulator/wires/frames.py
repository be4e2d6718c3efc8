"""Amazon's event stream, written: one binary frame for each event.

In: an event's name and its value. Out: the bytes of its frame: lengths, their checksum, headers, the value as JSON, the
checksum of it all. ``bedrock`` calls it. Source: the description of ``application/vnd.amazon.eventstream`` in Amazon
Transcribe's documentation, which all of Amazon's services share.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Mapping
from typing import Any, Final

import orjson

__all__ = ["EVENT_STREAM", "exception_frame", "frame"]

EVENT_STREAM: Final = "application/vnd.amazon.eventstream"
_TEXT: Final = 7  #: the type of a header whose value is text
_AROUND_BYTES: Final = 16  #: two lengths and two checksums


def frame(name: str, value: Mapping[str, Any]) -> bytes:
    """An event."""
    return _framed({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, value)


def exception_frame(name: str, message: str) -> bytes:
    """An error in the middle of a stream, by the exception's name in Amazon's service model."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return _framed(headers, {"message": message})


def _framed(headers: Mapping[str, str], value: Mapping[str, Any]) -> bytes:
    head = b"".join(_header(name.encode(), text.encode()) for name, text in headers.items())
    payload = orjson.dumps(value)
    lengths = struct.pack("!II", _AROUND_BYTES + len(head) + len(payload), len(head))
    whole = lengths + struct.pack("!I", crc32(lengths)) + head + payload
    return whole + struct.pack("!I", crc32(whole))


def _header(name: bytes, text: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + struct.pack("!BH", _TEXT, len(text)) + text
