"""A part: recorded lines of one shard, sealed into an immutable object.

Comes in: the outcomes of a shard since its last seal. Goes out: the bytes of a part object, and its reader. A part
begins with one JSON header line, then the answered lines, then the others, each in input order, byte for byte as they
will lie in the results; so merging copies ranges and parses nothing:

    {"version", "shard", "generation", "lines", "output": {"lines", "bytes"}, "errors": {…},
     "index": [[line, bytes], …] (answered first), "sha256" (of all after the header), "tally": {…}}

Written by the worker that seals, read by merge, verify and recovery. Where two parts hold the same line, the first in
key order counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from bucketline.errors import BucketlineError
from bucketline.value import value

__all__ = ["BadPart", "Entry", "Part", "check_body", "decode_entry", "encode_entry", "encode_part", "parse_header"]


class BadPart(BucketlineError):
    """A part object that is not one of ours; the text names it."""


@value
class Entry:
    """One recorded line: its number, whether it was answered, and its bytes without the newline."""

    line: int
    ok: bool
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A part's header, understood. ``places`` is (line, ok, offset in the object, length) in the part's order."""

    key: str
    shard: int
    generation: int
    places: tuple[tuple[int, bool, int, int], ...]
    answered: int  #: how many of the places, the first ones, are answers
    output_start: int
    output_bytes: int
    errors_bytes: int
    sha256: str
    tally: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        return self.output_start + self.output_bytes + self.errors_bytes


def encode_entry(entry: Entry) -> bytes:
    """How a recorded line lies in Redis until it is sealed."""
    return b"%d %d %b" % (entry.line, entry.ok, entry.encoded)


def decode_entry(raw: bytes) -> Entry:
    line, ok, encoded = raw.split(b" ", 2)
    return Entry(int(line), ok == b"1", encoded)


def encode_part(shard: int, generation: int, entries: Iterable[Entry], tally: dict[str, Any]) -> bytes:
    """The bytes of a part; entries may come in any order, a repeated line counts once."""
    by_line: dict[int, Entry] = {}
    for entry in entries:
        by_line.setdefault(entry.line, entry)
    ordered = sorted(by_line.values(), key=lambda entry: (not entry.ok, entry.line))
    sizes = [0, 0]
    counts = [0, 0]
    index = []
    for entry in ordered:
        size = len(entry.encoded) + 1
        sizes[not entry.ok] += size
        counts[not entry.ok] += 1
        index.append((entry.line, size))
    body = b"".join(piece for entry in ordered for piece in (entry.encoded, b"\n"))
    header = {
        "version": 1,
        "shard": shard,
        "generation": generation,
        "lines": len(ordered),
        "output": {"lines": counts[0], "bytes": sizes[0]},
        "errors": {"lines": counts[1], "bytes": sizes[1]},
        "index": index,
        "sha256": sha256(body).hexdigest(),
        "tally": tally,
    }
    return orjson.dumps(header) + b"\n" + body


def parse_header(key: str, head: bytes) -> Part:
    """Read a part's header from the beginning of the object; ``head`` must reach to its first newline.

    Raises BadPart when it is not a header, or not a whole one.
    """
    end = head.find(b"\n")
    try:
        if end < 0:
            raise ValueError
        header = orjson.loads(head[:end])
        answered = header["output"]["lines"]
        places = []
        at = end + 1
        for position, (line, size) in enumerate(header["index"]):
            places.append((line, position < answered, at, size))
            at += size
        return Part(
            key=key,
            shard=header["shard"],
            generation=header["generation"],
            places=tuple(places),
            answered=answered,
            output_start=end + 1,
            output_bytes=header["output"]["bytes"],
            errors_bytes=header["errors"]["bytes"],
            sha256=header["sha256"],
            tally=header["tally"],
        )
    except (ValueError, KeyError, TypeError):
        raise BadPart(f"{key} is not a part of this version; verify names what can be saved.") from None


def check_body(part: Part, raw: bytes) -> None:
    """Raises BadPart when the bytes are not those that the header was written for: cut off, or changed since."""
    if len(raw) != part.size_bytes or sha256(memoryview(raw)[part.output_start :]).hexdigest() != part.sha256:
        raise BadPart(f"{part.key} is damaged; its lines are asked again.")
