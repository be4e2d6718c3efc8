"""The sweep: one process of the fleet looks every few seconds for what fell between two steps.

Comes in: the ledger's unfinished batches and the ids whose submit did not come to its end. Goes out: lost tickets back
on the queue, batches whose last shard ended without its finish job, batches whose producer died after ``batch.json``, and
(``rescue``) batches that Redis forgot. It repairs, it never decides about a line; everything it does may be done twice.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.batch import BatchDocument
from bucketline.documents import read_document
from bucketline.errors import BucketlineError
from bucketline.queue import enqueue_finish, enqueue_shards, not_queued
from bucketline.shard import Shard
from bucketline.store import NotFound
from worker.logs import logger
from worker.recover import recover
from worker.rescue import Rescue

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["Sweep"]

_log = logger(__name__)
_EVERY_S = 5.0
_DUTY_MS = 12_000
_REST_S = 15.0  #: how long the others have the duty after a round that failed
_ABANDONED_S = 30.0  #: a submit that has not come to its end by then has died
_LOOK_AT = 200  #: unfinished batches looked at in one sweep; the next goes on behind them


class Sweep:
    """The duty of one process at a time."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._rescue = Rescue(engine)
        self._next = 0
        self._rests_until_s = -math.inf

    async def run(self) -> None:
        while True:
            await self.turn()
            await asyncio.sleep(_EVERY_S)

    async def turn(self) -> None:
        """What is done every few seconds; never raises but when cancelled."""
        try:
            await self._rescue.abandon()
            if self._monotonic() >= self._rests_until_s and await self._is_mine():
                await self.once()
        except (RedisError, OSError) as error:  # without Redis there is no duty: it runs out by itself
            _log.warning("sweep_put_off", reason=type(error).__name__)
        except BucketlineError as error:
            _log.warning("sweep_put_off", reason=type(error).__name__)
            await self._hand_over()
        except Exception as error:  # one odd batch must not end the sweep of all
            _log.error("sweep_broke", error=type(error).__name__)
            await self._hand_over()

    async def _hand_over(self) -> None:
        """Another process may reach what this one cannot, whose clock or network is odd: it gets the duty for a while."""
        self._rests_until_s = self._monotonic() + _REST_S
        redis, me = self._engine.redis, self._engine.worker_id
        with suppress(RedisError, OSError):
            if await redis.get(keys.SWEEPER) == me.encode():
                await redis.unlink(keys.SWEEPER)

    async def once(self) -> None:
        """One round. Raises RedisError and the store's errors; the next round goes on."""
        await self._adopt()
        await self._rescue.once()
        found = await self._engine.ledger.unfinished(self._next, _LOOK_AT)
        self._next = self._next + _LOOK_AT if len(found) == _LOOK_AT else 0
        for batch_id in found:
            await self._look_after(batch_id)

    async def _is_mine(self) -> bool:
        """Whether this process sweeps; it goes on doing so while it lives. Two at once for a moment are harmless."""
        redis, me = self._engine.redis, self._engine.worker_id
        if await redis.set(keys.SWEEPER, me, nx=True, px=_DUTY_MS):
            return True
        holder = await redis.get(keys.SWEEPER)
        return holder == me.encode() and bool(await redis.pexpire(keys.SWEEPER, _DUTY_MS))

    async def _look_after(self, batch_id: str) -> None:
        """Put back what an unfinished batch needs on the queue and does not have there."""
        engine = self._engine
        found = await engine.ledger.shards_left(batch_id)
        if found is None:
            return
        count, left = found
        if count <= 0:
            await enqueue_finish(engine.redis, batch_id)
            return
        lost = await not_queued(engine.redis, batch_id, sorted(left))
        if not lost:
            return
        document = await self._document(batch_id)
        if document is None:
            _log.error("document_missing", batch=batch_id)
            return
        _log.warning("tickets_lost", batch=batch_id, shards=len(lost))
        shards = [Shard(n, *document.shards[n]) for n in lost]
        await enqueue_shards(engine.redis, batch_id, shards, document.options.priority)

    async def _adopt(self) -> None:
        """Batches whose producer died: with a document they run, without one they never were."""
        redis = self._engine.redis
        seconds, _ = await redis.time()
        for raw in await redis.zrangebyscore(keys.SUBMITTING, 0, int(seconds) - _ABANDONED_S):
            batch_id = raw.decode()
            if await self._document(batch_id) is not None:
                await recover(batch_id, self._engine.store, self._engine.ledger, redis)
                _log.info("batch_adopted", batch=batch_id)
            await redis.zrem(keys.SUBMITTING, batch_id)

    async def _document(self, batch_id: str) -> BatchDocument | None:
        try:
            return await read_document(self._engine.store, batch_id)
        except NotFound:
            return None
