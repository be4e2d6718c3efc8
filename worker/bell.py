"""The bell: an idle worker hears at once that work was queued.

Comes in: what ``bucketline.queue`` publishes when it offers tickets. Goes out: ``rung``, which the worker's look at the
queue takes for a reason to look now, and ``listens``, without which it looks more often. Nothing depends on a bell that
was not heard but how soon the queue is looked at. Where Redis' users may not listen, it stays silent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import RedisError, ResponseError

from bucketline import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Bell"]

_TURN_S = 20.0  #: below the connection's own patience
_AGAIN_S = 2.0


class Bell:
    """One process's ear."""

    def __init__(self, redis: Redis) -> None:
        self.rung = False
        self.listens = False
        self._redis = redis

    def take(self) -> bool:
        """Whether it has rung since the last time."""
        rung, self.rung = self.rung, False
        return rung

    async def run(self) -> None:
        """Listen until cancelled, or until Redis says that this user may not."""
        while True:
            try:
                await self._listen()
            except ResponseError:
                return
            except (RedisError, OSError):
                pass
            finally:
                self.listens = False
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as channel:
            await channel.subscribe(keys.BELL)
            while True:
                heard = await channel.get_message(timeout=_TURN_S)
                if heard is not None:
                    self.listens = self.rung = True  # its first word is the subscription's: look at once then too
