"""A finished batch's parts and refused lines, in input order.

Comes in: a store and a batch's document. Goes out: shard after shard with its part objects, and the lines that submit
refused, as the shards reach them. One shard's parts are in memory at a time. Called by ``verify`` and the line table;
understands nothing of what a line says but its number.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from bucketline.batch import BatchDocument
from bucketline.errors import ConfigError
from bucketline.jsonl import records
from bucketline.layout import parts_prefix, rejects_object, shard_of_part
from bucketline.splice import loads
from bucketline.store import Store
from bucketline.tally import Tally

__all__ = ["Rejects", "by_shard", "last_line"]

Found = Callable[[str, str], None]  #: takes the name of an object and what is wrong with it


def last_line(document: BatchDocument, number: int) -> int:
    """The last line of the input that lies in a shard or before it."""
    following = number + 1
    return document.shards[following][0] - 1 if following < len(document.shards) else document.last_line


async def by_shard(
    store: Store, document: BatchDocument, found: Found
) -> AsyncIterator[tuple[int, list[tuple[str, bytes]]]]:
    """Every shard in order with its parts in key order; a shard without parts has none."""
    held: list[tuple[str, bytes]] = []
    current = 0
    async for stat in store.list(parts_prefix(document.id)):
        try:
            number = shard_of_part(stat.key)
        except ValueError:
            found(stat.key, "is not a part")
            continue
        if number >= len(document.shards):
            found(stat.key, "belongs to no shard of the batch")
            continue
        while current < number:
            yield current, held
            held, current = [], current + 1
        held.append((stat.key, await store.get(stat.key)))
    while current < len(document.shards):
        yield current, held
        held, current = [], current + 1


class Rejects:
    """The lines that submit refused, in order, as the shards reach them; each is added to the tally."""

    def __init__(self, store: Store, document: BatchDocument, tally: Tally, found: Found) -> None:
        self._key = rejects_object(document.id)
        self._tally = tally
        self._found = found
        self._lines = records(store.read(self._key)) if document.rejected else None
        self._held: tuple[int, bytes] | None = None

    async def until(self, last: int) -> AsyncIterator[tuple[int, bytes]]:
        """The refused lines up to that line of the input."""
        while self._lines is not None or self._held is not None:
            if self._held is None and not await self._next():
                return
            if self._held is None or self._held[0] > last:
                return
            yield self._held
            self._held = None

    async def _next(self) -> bool:
        assert self._lines is not None
        async for record in self._lines:
            try:
                line = loads(record.raw)
                self._tally.add_line(line)
                self._held = (int(line["bucketline"]["line"]), record.raw + b"\n")
            except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
                self._found(self._key, f"line {record.line}: cannot be read")
            else:
                return True
        self._lines = None
        return False
