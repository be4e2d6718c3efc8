"""The leases of one process: its shards' marks are renewed.

Comes in: the shards that are open and the batches that are being finished here. Goes out: every third of a lease, one step
that renews arq's marks and reads how each shard stands. A shard that another worker has by now (this process was stopped,
or cut off) lets go of its waiting lines; answers in flight are still recorded, first come first served. A process that is
new, or could not renew for a while, takes up nothing that was begun before until the others, who may have been cut off as
well, had time to renew theirs. A new one may take up at once what nobody ever began.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.ledger_shards import Standing
from worker.logs import logger
from worker.openshard import OpenShard

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["Leases", "renewal_s"]

_log = logger(__name__)
_LONGEST_GAP_S = 5.0
_FAREWELL_S = 2.0


def renewal_s(lease_s: float) -> float:
    """How often leases of that length are renewed."""
    return min(lease_s / 3, _LONGEST_GAP_S)


class Leases:
    """Keeps the marks of one process alive."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._lease_s = engine.settings.worker.lease_s
        self._every_s = renewal_s(self._lease_s)
        self._bound_s = 2 * self._every_s + 1.0  #: a longer gap between renewals means that Redis was away, or we were
        self._renewed_s = self._heard_s = monotonic()  #: when it was last asked for, and when Redis said yes
        self._settle_s = self._every_s + 1.0  #: by then every worker that lives has renewed
        self._calm_s: float | None = None  #: None until it is known whether others live
        self._was_away = False  #: whether Redis ever was away, or this process stood still
        self._run = ""  #: Redis' run id at the last renewal
        engine.turnstile.leased = lambda: self.fresh

    @property
    def calm(self) -> bool:
        """Whether this process may take up what was begun and nobody seems to hold: who lives had time to renew."""
        return self._calm_s is not None and self._monotonic() >= self._calm_s and self._is_steady()

    @property
    def undisturbed(self) -> bool:
        """Whether it may take up what Redis says nobody ever began, before it is calm: it was never cut off."""
        return self._calm_s is not None and not self._was_away and self._is_steady()

    def _is_steady(self) -> bool:
        return self._monotonic() - self._renewed_s <= self._bound_s

    @property
    def fresh(self) -> bool:
        """Whether no lease of this process can have run out: a process that was stopped must not send what others have."""
        return self._monotonic() - self._renewed_s < self._lease_s

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(max(1.0, self._lease_s)):  # a command that hangs must not cost the lease
                    await self.step()
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__)
            except Exception as error:  # without leases every shard of this process would be done twice
                _log.error("leases_broke", error=type(error).__name__)
            await asyncio.sleep(self._every_s)

    async def step(self) -> None:
        """One renewal. Raises RedisError and OSError."""
        await self._look_around()
        await self._renew()

    async def _look_around(self) -> None:
        """At the start: where no other worker has been heard of, nothing need be waited for."""
        if self._calm_s is None:
            members = await self._engine.redis.zrange(keys.WORKERS, 0, -1)
            alone = all(member.decode() == self._engine.worker_id for member in members)
            self._calm_s = self._monotonic() + (0.0 if alone else self._settle_s)

    async def farewell(self) -> None:
        """Take this process off the list of workers."""
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self._engine.redis.zrem(keys.WORKERS, self._engine.worker_id)
                await self._engine.redis.unlink(keys.worker_hash(self._engine.worker_id))
        except (RedisError, OSError):
            _log.warning("redis_away_at_end")

    async def _renew(self) -> None:
        engine, asked_s = self._engine, self._monotonic()
        shards = list(engine.runner.open)
        before = [_state(shard) for shard in shards]
        named = [(shard.batch_id, shard.shard) for shard in shards]
        found = await engine.ledger.renew(engine.worker_id, self._lease_s, named)
        engine.sight.renewals += len(shards)
        for shard, was, standing in zip(shards, before, found.standings, strict=True):
            self._heed(shard, was, standing)
        self._note_run(found.run)
        self._note_success(asked_s)
        engine.turnstile.look()
        for batch_id in list(engine.finishing):
            await engine.ledger.renew_finish(engine.worker_id, self._lease_s, batch_id)

    def _note_success(self, asked_s: float) -> None:
        """Renewed, and as of when it was asked for: the answer may have waited here while this process stood still.

        The others' time to renew runs from the answer: a question may have been on its way all the while that Redis was away.
        """
        now_s = self._monotonic()
        if now_s - self._heard_s > self._bound_s:
            self._calm_s = now_s + self._settle_s
            self._was_away = True
        self._renewed_s, self._heard_s = asked_s, now_s

    def _note_run(self, run: str) -> None:
        """Another life of Redis, or another server, may have forgotten the last seconds of every shard."""
        if self._run and run and run != self._run:
            for shard in self._engine.runner.open:
                shard.stale = True
        self._run = run or self._run

    def _heed(self, shard: OpenShard, was: tuple[int, int, int], standing: Standing) -> None:
        if not standing.ours or (shard.generation and standing.newest > shard.generation):
            if not shard.lost.is_set():
                self._engine.sight.claims_lost += 1
                _log.warning("claim_lost", batch=shard.batch_id, shard=shard.shard)
            shard.lose()
        elif shard.generation and standing.newest < shard.generation:
            shard.stale = True  # Redis has forgotten our claim, and so perhaps our outcomes
        elif was == _state(shard) and standing.unsealed != shard.listed:
            shard.stale = True


def _state(shard: OpenShard) -> tuple[int, int, int]:
    """What changes with every step in which the list in Redis may change."""
    return shard.pending, shard.sequence, shard.waiting + shard.listed
