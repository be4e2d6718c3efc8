"""Where a batch's work stands on the queue.

Comes in: Redis and a batch. Goes out: its ``Place``, in two small commands. Called by ``why`` and ``top``'s reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bucketline import keys
from bucketline.batch import Progress
from producer.cause import Place

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["place_of"]


async def place_of(redis: Redis, batch: Progress) -> Place:
    """The tickets before that of the batch's first shard with lines left."""
    first = await redis.bitpos(keys.batch_ended(batch.id), 0)
    rank = await redis.zrank(keys.QUEUE, keys.shard_job_id(batch.id, max(0, first)))
    return Place(batch.waiting_shards, rank or 0)
