"""Batches that Redis forgot: found by the marks in the store, and put back.

Comes in: the marks under ``unfinished/``, listed at the start, once a minute, and at once when Redis turns out to have been
emptied, or to be another server. Goes out: a rebuilt ledger for each batch that Redis does not know and that is not over. A little time passes before
that: the workers renew their leases first, so that nobody takes up what another has open, and the answers that they hold are
recorded again into the new ledger. Called by ``sweep``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from bucketline import keys
from bucketline.layout import UNFINISHED, batch_document, manifest_object, unfinished_id
from bucketline.store import NotFound
from worker.lease import renewal_s
from worker.logs import logger
from worker.recover import recover

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["Rescue"]

_log = logger(__name__)
_LIST_S = 60.0  #: how often the marks are listed in any case
_OLD_MARK_S = 86400.0  #: a mark without a batch is that of a submit that died
_GIVEN_UP_S = 20.0  #: how long an open batch that Redis lacks is waited for before the store is asked about it


class Rescue:
    """What Redis lacks and the store knows."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._listed_s: float | None = None
        self._missing: dict[str, float] = {}  #: batch → monotonic time when it was first missed
        self._settle_s = renewal_s(engine.settings.worker.lease_s) + 1.0

    async def once(self) -> None:
        """Look for what Redis lacks; put back what it still lacks after a while. Raises Redis' and the store's errors."""
        engine, now_s = self._engine, self._monotonic()
        run = await self._run_id()
        remembers = await engine.redis.get(keys.REMEMBERS) == run.encode()
        if not remembers or self._missing or self._listed_s is None or now_s - self._listed_s > _LIST_S:
            await self._list(now_s)
        if not remembers and not self._missing:
            await engine.redis.set(keys.REMEMBERS, run)
        for batch_id, since_s in list(self._missing.items()):
            if now_s - since_s >= self._settle_s:
                opened = await recover(batch_id, engine.store, engine.ledger, engine.redis)
                _log.warning("recovered", batch=batch_id, opened=opened)
                del self._missing[batch_id]

    async def _run_id(self) -> str:
        """Which life of which server this is: another one may have forgotten the last seconds."""
        try:
            info = await self._engine.redis.info("server")
        except ResponseError:
            return "unknown"  # where INFO is not allowed, an emptied Redis is noticed all the same
        return str(info.get("run_id", "unknown"))

    async def abandon(self) -> None:
        """Let go of open batches that Redis lacks and that are over, or gone from the store: nobody will bring them back."""
        now_s = self._monotonic()
        for batch_id, since_s in list(self._engine.control.forgotten.items()):
            if now_s - since_s > _GIVEN_UP_S and await self._is_over_or_gone(batch_id):
                _log.error("batch_gone", batch=batch_id)
                for shard in [shard for shard in self._engine.runner.open if shard.batch_id == batch_id]:
                    shard.over = True
                    shard.lose()
                    self._engine.recorder.take_back(shard)

    async def _list(self, now_s: float) -> None:
        engine = self._engine
        marked = {unfinished_id(stat.key): stat.modified_s async for stat in engine.store.list(UNFINISHED)}
        unknown = await engine.ledger.unknown(list(marked))
        redis_s, _ = await engine.redis.time()
        missing: dict[str, float] = {}
        for batch_id in unknown:
            if not await self._exists(batch_document(batch_id)):
                if int(redis_s) - marked[batch_id] > _OLD_MARK_S:
                    await engine.store.delete(UNFINISHED + batch_id)
            else:
                missing[batch_id] = self._missing.get(batch_id, now_s)
        self._missing, self._listed_s = missing, now_s
        if missing:
            _log.warning("redis_forgot", batches=len(missing))

    async def _is_over_or_gone(self, batch_id: str) -> bool:
        if await self._exists(manifest_object(batch_id)):
            return True
        return not await self._exists(batch_document(batch_id))

    async def _exists(self, key: str) -> bool:
        try:
            await self._engine.store.stat(key)
        except NotFound:
            return False
        return True
