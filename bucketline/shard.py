"""A shard: a byte range of the input that one job works off.

Comes in: the records of the input while it streams past at submit. Goes out: ``Shard`` records in order, and the
ticket that stands for one on the queue. The first shards of a batch are small, so that a small batch spreads over
the fleet at once; later ones are large, so that a large batch costs little to queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bucketline.jsonl import Record

__all__ = ["Shard", "ShardCutter", "lines_of_shard"]

#: (up to this number, lines a shard may hold): at most a fifth of what lies before it, and a twenty-fourth where it is
#: large, for the last one is worked off by one process while the others are done
_STEPS = ((10, 25), (20, 50), (30, 100), (40, 200), (80, 400))
_MOST_LINES = 800  #: a ticket costs Redis some twenty-five commands
_MOST_BYTES = 1024 * 1024  #: a shard is read at once; only a single longer line makes a larger one


@dataclass(frozen=True, slots=True)
class Shard:
    """One byte range. ``lines`` counts its records, ``first_line`` is the physical number of the first one."""

    number: int
    first_line: int
    offset_bytes: int
    size_bytes: int
    lines: int


def lines_of_shard(number: int) -> int:
    """How many lines the shard of that number may hold."""
    return next((lines for below, lines in _STEPS if number < below), _MOST_LINES)


class ShardCutter:
    """Cuts shards from records as they pass; call ``finish`` after the last record."""

    def __init__(self) -> None:
        self._number = 0
        self._first: Record | None = None
        self._end_bytes = 0
        self._lines = 0
        self._most_lines = lines_of_shard(0)
        self._most_end_bytes = 0

    def add(self, record: Record) -> Shard | None:
        """Take one record; returns the shard before it when that one is full.

        A line over the cap belongs to no shard: it is rejected at submit and never read again.
        """
        full = None
        if record.oversized:
            return self._cut() if self._first is not None else None
        end_bytes = record.offset_bytes + record.size_bytes
        if self._lines and (self._lines >= self._most_lines or end_bytes > self._most_end_bytes):
            full = self._cut()
        if self._first is None:
            self._first = record
            self._most_end_bytes = record.offset_bytes + _MOST_BYTES
        self._lines += 1
        self._end_bytes = end_bytes
        return full

    def finish(self) -> Iterator[Shard]:
        """The last shard, where there is one."""
        if self._first is not None:
            yield self._cut()

    def _cut(self) -> Shard:
        first = self._first
        assert first is not None
        shard = Shard(self._number, first.line, first.offset_bytes, self._end_bytes - first.offset_bytes, self._lines)
        self._number += 1
        self._first, self._lines, self._most_lines = None, 0, lines_of_shard(self._number)
        return shard
