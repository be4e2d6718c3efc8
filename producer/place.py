"""Where a batch's work stands on the queue.

Comes in: Redis and a batch. Goes out: its ``Place``, from the head of the queue in one command. Called by ``why`` and ``top``'s
reasons.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from bucketline import keys
from bucketline.batch import Progress
from producer.cause import Place

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["place_of"]

_HEAD = 1000  #: so many tickets are looked at


async def place_of(redis: Redis, batch: Progress) -> Place:
    """The tickets of others before the batch's first; no more than the head of the queue is looked at."""
    head = await redis.zrange(keys.QUEUE, 0, _HEAD - 1)
    mine = keys.shard_job_id(batch.id, 0)[:-1].encode()
    before = list(takewhile(lambda ticket: not ticket.startswith(mine), head))
    return Place(batch.waiting_shards, len(before))
