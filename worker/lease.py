"""The leases of one process: its shards' marks are renewed.

Comes in: the shards that are open. Goes out: every third of a lease, one pipeline that renews arq's marks and reads
the newest generation of each shard. A shard that another worker has claimed meanwhile (this process was stopped, or cut
off) lets go of its waiting lines; answers in flight are still recorded, first come first served.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.queue import mark_of
from worker.logs import logger

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["Leases"]

_log = logger(__name__)
_LONGEST_GAP_S = 5.0


class Leases:
    """Keeps the marks of one process alive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lease_s = engine.settings.worker.lease_s

    async def run(self) -> None:
        while True:
            try:
                await self._renew()
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__)
            await asyncio.sleep(min(self._lease_s / 3, _LONGEST_GAP_S))

    async def farewell(self) -> None:
        """Take this process off the list of workers."""
        try:
            await self._engine.redis.zrem(keys.WORKERS, self._engine.worker_id)
            await self._engine.redis.unlink(keys.worker_hash(self._engine.worker_id))
        except (RedisError, OSError):
            _log.warning("redis_away_at_end")

    async def _renew(self) -> None:
        shards = list(self._engine.runner.open)
        if not shards:
            return
        pipe = self._engine.redis.pipeline(transaction=False)
        for shard in shards:
            mark = mark_of(keys.shard_job_id(shard.batch_id, shard.shard))
            pipe.set(mark, b"1", px=int(self._lease_s * 1000))
            pipe.hget(keys.batch_generations(shard.batch_id), str(shard.shard))
        answers = await pipe.execute()
        self._engine.sight.renewals += len(shards)
        for position, shard in enumerate(shards):
            newest = answers[2 * position + 1]
            if newest is not None and int(newest) != shard.generation:
                shard.lost.set()
                self._engine.sight.claims_lost += 1
                _log.warning("claim_lost", batch=shard.batch_id, shard=shard.shard)
