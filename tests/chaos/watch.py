"""Looking on during a storm: when each line was recorded first, who held which shard, when.

Comes in: a Redis that may be away, and the simulator's clock. Goes out: ``Sightings``, in the simulator's seconds, so that they
can be held against its books. It only reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bucketline import keys
from bucketline.ledger_shards import set_bits
from bucketline.queue import mark_of

__all__ = ["Sightings", "watch"]

_EVERY_S = 0.2


@dataclass
class Sightings:
    """What was seen. ``offset_s`` leads from the monotonic clock to the simulator's."""

    offset_s: float
    recorded: dict[int, float] = field(default_factory=dict)  #: line → when it was first seen recorded
    holders: dict[int, str] = field(default_factory=dict)  #: shard → who holds it now
    taken: dict[int, list[tuple[float, str]]] = field(default_factory=dict)  #: shard → (when, by whom), in order
    ended: dict[int, float] = field(default_factory=dict)  #: shard → when it was first seen ended
    unsealed_bytes: int = 0  #: the most that lay in Redis

    def now_s(self) -> float:
        return time.monotonic() + self.offset_s


async def watch(redis: Redis, batch_id: str, shards: int, seen: Sightings) -> None:
    """Look until cancelled."""
    while True:
        with contextlib.suppress(RedisError, OSError):
            await _look(redis, batch_id, shards, seen)
        await asyncio.sleep(_EVERY_S)


async def _look(redis: Redis, batch_id: str, shards: int, seen: Sightings) -> None:
    pipe = redis.pipeline(transaction=False)
    pipe.get(keys.batch_done(batch_id))
    pipe.get(keys.batch_ended(batch_id))
    pipe.mget([mark_of(keys.shard_job_id(batch_id, n)) for n in range(shards)])
    pipe.info("memory")
    done, ended, marks, memory = await pipe.execute()
    now_s = seen.now_s()
    for line in set_bits(done or b"", 0):
        seen.recorded.setdefault(line, now_s)
    for shard in set_bits(ended or b"", 0):
        seen.ended.setdefault(shard, now_s)
    for shard, mark in enumerate(marks):
        holder = mark.decode() if mark not in (None, b"1") else ""
        if holder and seen.holders.get(shard) != holder:
            seen.taken.setdefault(shard, []).append((now_s, holder))
        seen.holders[shard] = holder
    seen.unsealed_bytes = max(seen.unsealed_bytes, int(memory["used_memory"]))
