"""JSON Lines, byte by byte.

Comes in: blocks of bytes in any cut. Goes out: records with their physical line number and byte offset. A record
ends at byte 0x0A and nowhere else (``str.splitlines`` would also cut at U+2028, U+2029 and U+0085 inside strings);
one CR before it and a byte order mark at the very start are dropped, blank lines are skipped, the last line needs
no newline. Called by the scanner at submit, by the worker that reads a shard, and by everything that reads results.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

from bucketline.value import value

__all__ = ["BOM", "Record", "Splitter", "escape_line_ends", "records", "records_of"]

BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


@value
class Record:
    """One line that is not blank: its bytes without the line end, its number from 1, and where it starts."""

    line: int
    offset_bytes: int
    raw: bytes
    size_bytes: int  #: with the line end, so that offset + size is where the next line starts
    oversized: bool = False  #: longer than the cap; ``raw`` holds only its beginning


class Splitter:
    """Cuts a stream of blocks into records; holds at most one unfinished line, never more than the cap of it."""

    def __init__(self, *, line: int = 1, offset_bytes: int = 0, cap_bytes: int = 32 * 1024 * 1024) -> None:
        self._line = line
        self._offset = offset_bytes
        self._cap = cap_bytes
        self._pieces: list[bytes] = []
        self._held = 0  # bytes of the unfinished line, also those past the cap that were let go

    def feed(self, block: bytes) -> Iterator[Record]:
        """Yield the records that end inside this block."""
        lines = block.split(b"\n")
        rest = lines.pop()
        for raw in lines:
            size = len(raw)
            if self._pieces:
                self._hold(raw)
                raw, size = self._take()  # noqa: PLW2901  # the line of which this block held the end
            if raw.endswith(b"}") and self._offset and size <= self._cap:  # the usual line has nothing to look for
                usual = Record(self._line, self._offset, raw, size + 1)
                self._line += 1
                self._offset += size + 1
                yield usual
                continue
            record = self._record(raw, size, 1)
            if record is not None:
                yield record
        if rest:
            self._hold(rest)

    def finish(self) -> Iterator[Record]:
        """Yield the last line where the stream did not end in a newline."""
        if self._held:
            raw, size = self._take()
            record = self._record(raw, size, 0)
            if record is not None:
                yield record

    def _hold(self, piece: bytes) -> None:
        room = self._cap + 2 - self._held
        self._pieces.append(piece[:room] if room > 0 else b"")
        self._held += len(piece)

    def _take(self) -> tuple[bytes, int]:
        raw, size = b"".join(self._pieces), self._held
        self._pieces, self._held = [], 0
        return raw, size

    def _record(self, raw: bytes, length_bytes: int, end_bytes: int) -> Record | None:
        """The line as a record; None where it is blank. Of one past the cap ``raw`` may be the beginning alone."""
        line, offset = self._line, self._offset
        size_bytes = length_bytes + end_bytes
        self._line, self._offset = line + 1, offset + size_bytes
        if length_bytes > self._cap + 2:  # more than is ever held: not blank, whatever its beginning is
            return Record(line, offset, raw[:256], size_bytes, oversized=True)
        if offset == 0 and raw.startswith(BOM):
            raw = raw[3:]
        if raw.endswith(b"\r"):
            raw = raw[:-1]
        if not raw.strip(_BLANK):
            return None
        if len(raw) > self._cap:
            return Record(line, offset, raw[:256], size_bytes, oversized=True)
        return Record(line, offset, raw, size_bytes)


def records_of(data: bytes, *, line: int = 1, offset_bytes: int = 0, cap_bytes: int = 1 << 62) -> Iterator[Record]:
    """The records of bytes that are all at hand, such as one shard."""
    splitter = Splitter(line=line, offset_bytes=offset_bytes, cap_bytes=cap_bytes)
    yield from splitter.feed(data)
    yield from splitter.finish()


async def records(blocks: AsyncIterable[bytes], *, cap_bytes: int = 1 << 62) -> AsyncIterator[Record]:
    """The records of a stream of blocks, at a flat memory of one line."""
    splitter = Splitter(cap_bytes=cap_bytes)
    async for block in blocks:
        for record in splitter.feed(block):
            yield record
    for record in splitter.finish():
        yield record


def escape_line_ends(encoded: bytes) -> bytes:
    """Escape the three Unicode line ends in encoded JSON, for readers that split on more than 0x0A.

    They can only stand inside strings there, so the escaped text is the same JSON value.
    """
    if encoded.isascii():
        return encoded
    for raw, escaped in _LINE_ENDS:
        if raw in encoded:
            encoded = encoded.replace(raw, escaped)
    return encoded
