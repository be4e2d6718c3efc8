"""A batch's ledger, rebuilt from the store.

Comes in: a batch whose document is in the store and which Redis does not know (any more). Goes out: its ledger with
every line that a part or the rejects hold marked as recorded, and tickets for the shards that have lines left. Lines
that were recorded and never sealed are asked again; nothing that a part holds is. Called by the sweep and by
``doctor --recover``; harmless where the ledger is there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bucketline.batch import BatchDocument
from bucketline.jsonl import records
from bucketline.layout import batch_document, parts_prefix, rejects_object
from bucketline.ledger import Ledger
from bucketline.part import parse_header
from bucketline.queue import enqueue_shards
from bucketline.shard import Shard
from bucketline.splice import loads
from bucketline.store import Store
from bucketline.tally import Tally

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["recover"]


async def recover(batch_id: str, store: Store, ledger: Ledger, redis: ArqRedis) -> bool:
    """Rebuild one batch's ledger; False when it was there. Raises NotFound when the store has no such batch."""
    document = BatchDocument.model_validate_json(await store.get(batch_document(batch_id)))
    recorded: set[int] = set()
    tally = Tally()
    if document.rejected:
        async for record in records(store.read(rejects_object(batch_id))):
            parsed = loads(record.raw)
            recorded.add(parsed["bucketline"]["line"])
            tally.add_line(parsed)
    by_shard: dict[int, set[int]] = defaultdict(set)
    async for stat in store.list(parts_prefix(batch_id)):
        part = parse_header(stat.key, await store.get(stat.key))
        by_shard[part.shard].update(line for line, *_ in part.places)
        tally.merge(Tally.from_document(part.tally))
    for lines in by_shard.values():
        recorded |= lines
    ended = [n for n, shard in enumerate(document.shards) if _is_full(n, document, recorded)]
    opened = await ledger.register(document, recorded=recorded, counters=_counters(tally), ended=ended)
    left = [Shard(n, *place) for n, place in enumerate(document.shards) if n not in set(ended)]
    await enqueue_shards(redis, batch_id, left, document.options.priority)
    return opened


def _counters(tally: Tally) -> dict[str, int]:
    """The ledger's counters for lines that are in the store already."""
    return {
        "completed": tally.completed,
        "failed": tally.failed,
        "cancelled": tally.cancelled,
        "attempts": tally.attempts,
        "nanousd": tally.nanousd,
        "unpriced": tally.unknown_cost,
        "tokens": tally.usage.total_tokens,
    }


def _is_full(number: int, document: BatchDocument, recorded: set[int]) -> bool:
    """Whether as many lines of the shard are recorded as it has."""
    first, _, _, count = document.shards[number]
    last = document.shards[number + 1][0] - 1 if number + 1 < len(document.shards) else document.last_line
    return sum(1 for line in range(first, last + 1) if line in recorded) >= count
