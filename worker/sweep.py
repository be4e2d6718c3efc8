"""The sweep: one process of the fleet looks every few seconds for what fell between two steps.

Comes in: the ledger's unfinished batches and the ids whose submit did not come to its end. Goes out: lost tickets back
on the queue, batches whose last shard ended without its finish job, batches whose producer died after ``batch.json``.
It repairs, it never decides about a line; everything it does may be done twice.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.batch import TERMINAL, BatchDocument, Progress
from bucketline.errors import BucketlineError
from bucketline.layout import batch_document
from bucketline.queue import enqueue_finish, enqueue_shards
from bucketline.shard import Shard
from bucketline.store import NotFound
from worker.logs import logger
from worker.recover import recover

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["Sweep"]

_log = logger(__name__)
_EVERY_S = 5.0
_ABANDONED_S = 30.0  #: a submit that has not come to its end by then has died
_LOOK_AT = 200  #: unfinished batches looked at in one sweep


class Sweep:
    """The duty of one process at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self) -> None:
        while True:
            try:
                if await self._is_mine():
                    await self._sweep()
            except (RedisError, OSError, BucketlineError) as error:
                _log.warning("sweep_put_off", reason=type(error).__name__)
            await asyncio.sleep(_EVERY_S)

    async def _is_mine(self) -> bool:
        mine = await self._engine.redis.set(keys.SWEEPER, self._engine.worker_id, nx=True, px=int(_EVERY_S * 900))
        return bool(mine)

    async def _sweep(self) -> None:
        await self._adopt()
        for progress in await self._engine.ledger.recent(_LOOK_AT):
            if progress.state not in TERMINAL:
                await self._look_after(progress)

    async def _look_after(self, progress: Progress) -> None:
        """Put back what an unfinished batch needs on the queue and does not have there."""
        if progress.waiting_shards == 0:
            await enqueue_finish(self._engine.redis, progress.id)
            return
        document = await self._document(progress.id)
        if document is None:
            return
        ended = await self._engine.ledger.ended_shards(progress.id, len(document.shards))
        left = [Shard(n, *place) for n, place in enumerate(document.shards) if n not in ended]
        await enqueue_shards(self._engine.redis, progress.id, left, document.options.priority)

    async def _adopt(self) -> None:
        """Batches whose producer died: with a document they run, without one they never were."""
        before_s = time.time() - _ABANDONED_S
        for raw in await self._engine.redis.zrangebyscore(keys.SUBMITTING, 0, before_s):
            batch_id = raw.decode()
            if await self._document(batch_id) is not None:
                await recover(batch_id, self._engine.store, self._engine.ledger, self._engine.redis)
                _log.info("batch_adopted", batch=batch_id)
            await self._engine.redis.zrem(keys.SUBMITTING, batch_id)

    async def _document(self, batch_id: str) -> BatchDocument | None:
        try:
            return BatchDocument.model_validate_json(await self._engine.store.get(batch_document(batch_id)))
        except NotFound:
            return None
