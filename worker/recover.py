"""A batch's ledger, rebuilt from the store.

Comes in: a batch whose document is in the store and which Redis does not know (any more). Goes out: its ledger with
every line that a part or the rejects hold marked as recorded, with what an operator ordered, and tickets for the shards that
have lines left. Lines that were recorded and never sealed are recorded again by the workers that have them, or asked again;
nothing that a part holds is. Called by the sweep and by ``doctor --recover``; harmless where the ledger is there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import orjson

from bucketline.batch import BatchDocument, State
from bucketline.documents import read_document
from bucketline.jsonl import records
from bucketline.layout import (
    manifest_object,
    orders_object,
    parts_prefix,
    rejects_object,
    shard_of_part,
    unfinished_mark,
)
from bucketline.ledger import Ledger
from bucketline.part import BadPart, Part, parse_header
from bucketline.queue import enqueue_finish, enqueue_shards
from bucketline.shard import Shard
from bucketline.splice import loads
from bucketline.store import NotFound, Store, StoreUnavailable
from bucketline.tally import Tally
from worker.logs import logger

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["recover"]

_log = logger(__name__)
_HEAD_BYTES = 64 * 1024  #: most headers are shorter; a longer one is read with its whole part


async def recover(batch_id: str, store: Store, ledger: Ledger, redis: ArqRedis) -> bool:
    """Rebuild one batch's ledger; False when it was there, or when the batch is over.

    Raises NotFound when the store has no such batch.
    """
    document = await read_document(store, batch_id)
    if await _is_over(store, batch_id):
        await store.delete(unfinished_mark(batch_id))
        return False
    tally = Tally()
    recorded = await _rejected(store, document, tally)
    by_shard = await _in_parts(store, document, tally)
    for lines in by_shard.values():
        recorded |= lines
    ended = {n for n in range(len(document.shards)) if _is_full(n, document, recorded)}
    orders = await _orders(store, batch_id)
    state = State.CANCELLING if orders.pop("cancelled", None) else State.IN_PROGRESS
    opened = await ledger.register(
        document, recorded=recorded, counters=tally.counters(), ended=ended, state=state, rebuilt=True, orders=orders
    )
    left = [Shard(n, *place) for n, place in enumerate(document.shards) if n not in ended]
    await enqueue_shards(redis, batch_id, left, document.options.priority)
    if not left:
        await enqueue_finish(redis, batch_id)
    return opened


async def _is_over(store: Store, batch_id: str) -> bool:
    try:
        await store.stat(manifest_object(batch_id))
    except NotFound:
        return False
    return True


async def _rejected(store: Store, document: BatchDocument, tally: Tally) -> set[int]:
    found: set[int] = set()
    if document.rejected:
        async for record in records(store.read(rejects_object(document.id))):
            parsed = loads(record.raw)
            found.add(parsed["bucketline"]["line"])
            tally.add_line(parsed)
    return found


async def _in_parts(store: Store, document: BatchDocument, tally: Tally) -> dict[int, set[int]]:
    """The lines that parts hold, by shard; where two parts hold a line it is counted twice until the batch ends."""
    found: dict[int, set[int]] = defaultdict(set)
    async for stat in store.list(parts_prefix(document.id)):
        part = await _header(store, stat.key)
        if part is not None and part.shard < len(document.shards):
            new = {line for line, *_ in part.places} - found[part.shard]
            if len(new) == len(part.places):
                tally.merge(Tally.from_document(part.tally))
            else:
                tally.completed += sum(1 for line, ok, *_ in part.places if ok and line in new)
                tally.failed += sum(1 for line, ok, *_ in part.places if not ok and line in new)
            found[part.shard] |= new
    return found


async def _header(store: Store, key: str) -> Part | None:
    try:
        shard_of_part(key)
        head = await store.get(key, length=_HEAD_BYTES)
        if b"\n" not in head:
            head = await store.get(key)
        return parse_header(key, head)
    except ValueError:
        return None
    except NotFound:
        raise StoreUnavailable(f"{key} is listed and cannot be read yet; it is tried again.") from None
    except BadPart as error:
        _log.error("bad_part", part=key, reason=str(error))
        return None


async def _orders(store: Store, batch_id: str) -> dict[str, str]:
    """What an operator wanted of the batch, as fields of the ledger."""
    try:
        found = orjson.loads(await store.get(orders_object(batch_id)))
    except (NotFound, ValueError):
        return {}
    names = ("cancelled", "keep_in_flight", "paused")
    return {name: "1" for name in names if isinstance(found, dict) and found.get(name) is True}


def _is_full(number: int, document: BatchDocument, recorded: set[int]) -> bool:
    """Whether as many lines of the shard are recorded as it has."""
    first, _, _, count = document.shards[number]
    last = document.shards[number + 1][0] - 1 if number + 1 < len(document.shards) else document.last_line
    return sum(1 for line in range(first, last + 1) if line in recorded) >= count
