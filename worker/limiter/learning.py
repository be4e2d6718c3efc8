"""What one worker has learnt about requests, told to the others; a worker that starts anew starts with it.

Comes in: the sums that ``likely`` gathers. Goes out: every few seconds, and for models that were asked for meanwhile
only, one pipeline that adds our new ones to a hash in Redis and brings what others have added since. Without Redis each
learns for itself. Put together in ``engine``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.learnt import Learnt
from worker.limiter.likely import Likely
from worker.tasks import end_tasks

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Learning"]

_EVERY_S = 3.0
_LAST_S = 1.0  #: at the end, Redis is waited for no longer
_LIFE_S = 30 * 86400
_ENOUGH = 2048  #: answers in Redis after which the old ones count half


class Learning:
    """Shares the sums of one process."""

    def __init__(self, redis: Redis, likely: Likely) -> None:
        self._redis = redis
        self._likely = likely
        self._seen: dict[str, dict[str, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="learning")

    async def close(self) -> None:
        """Tell the last of it, where Redis is there to hear it."""
        await end_tasks(self._task)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self.share()

    async def share(self) -> None:
        """Tell what is new here, take in what is new elsewhere. Raises RedisError."""
        names, self._likely.asked_for = self._likely.asked_for, set()
        for name in names:
            await self._share(name, self._likely.models[name])

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self.share()
            await asyncio.sleep(_EVERY_S)

    async def _share(self, name: str, model: Learnt) -> None:
        key, told = keys.learnt(name), model.fresh
        pipe = self._redis.pipeline(transaction=True)
        for field, value in told.items():
            pipe.hincrby(key, field, value)
        if told:
            pipe.sadd(keys.LEARNT, name)
        pipe.expire(key, _LIFE_S)
        pipe.hgetall(key)
        model.fresh = {}
        try:
            *_, found = await pipe.execute()
        except BaseException:
            self._likely.asked_for.add(name)
            for field, value in told.items():
                model.fresh[field] = model.fresh.get(field, 0) + value
            raise
        total = {field.decode(): int(value) for field, value in found.items()}
        seen = self._seen.get(name, {})
        news = {field: value - seen.get(field, 0) - told.get(field, 0) for field, value in total.items()}
        model.add({field: value for field, value in news.items() if value > 0})
        if sum(value for field, value in total.items() if field.startswith("o")) > _ENOUGH:
            total = {field: value // 2 for field, value in total.items()}
            await self._redis.hset(key, mapping=total)  # type: ignore[misc]
        self._seen[name] = total
