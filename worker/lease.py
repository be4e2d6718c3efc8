"""The leases of one process: its shards' marks are renewed, its own sign of life is given.

Comes in: the shards that are open. Goes out: every third of a lease, one pipeline that renews arq's marks and reads
the newest generation of each shard. A shard that another worker has claimed meanwhile (this process was stopped, or cut
off) lets go of its waiting lines; answers in flight are still recorded, first come first served.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.queue import mark_of
from worker.logs import logger

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["Leases"]

_log = logger(__name__)
_LIFE_SIGN_S = 5.0
_LIFE_S = 60


class Leases:
    """Keeps the marks of one process alive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lease_s = engine.settings.worker.lease_s
        self._signed_s = 0.0

    async def run(self) -> None:
        while True:
            try:
                await self._renew()
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__)
            await asyncio.sleep(min(self._lease_s / 3, _LIFE_SIGN_S))

    async def farewell(self) -> None:
        """Take this process off the list of workers."""
        try:
            await self._engine.redis.zrem(keys.WORKERS, self._engine.worker_id)
            await self._engine.redis.unlink(keys.worker_hash(self._engine.worker_id))
        except (RedisError, OSError):
            _log.warning("redis_away_at_end")

    async def _renew(self) -> None:
        shards = list(self._engine.runner.open)
        pipe = self._engine.redis.pipeline(transaction=False)
        for shard in shards:
            mark = mark_of(keys.shard_job_id(shard.batch_id, shard.shard))
            pipe.set(mark, b"1", px=int(self._lease_s * 1000))
            pipe.hget(keys.batch_generations(shard.batch_id), str(shard.shard))
        self._sign(pipe)
        answers = await pipe.execute()
        for position, shard in enumerate(shards):
            newest = answers[2 * position + 1]
            if newest is not None and int(newest) != shard.generation:
                shard.lost.set()
                _log.warning("claim_lost", batch=shard.batch_id, shard=shard.shard)

    def _sign(self, pipe: object) -> None:
        """This process's line in the list of workers."""
        engine = self._engine
        now_s = time.time()
        state = {
            "seen_s": f"{now_s:.3f}",
            "in_flight": engine.turnstile.in_flight,
            "open_lines": engine.runner.open_lines,
            "open_shards": len(engine.runner.open),
        }
        pipe.hset(keys.worker_hash(engine.worker_id), mapping=state)  # type: ignore[attr-defined]
        pipe.expire(keys.worker_hash(engine.worker_id), _LIFE_S)  # type: ignore[attr-defined]
        pipe.zadd(keys.WORKERS, {engine.worker_id: now_s})  # type: ignore[attr-defined]
        pipe.zremrangebyscore(keys.WORKERS, 0, now_s - _LIFE_S)  # type: ignore[attr-defined]
