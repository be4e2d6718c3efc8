"""The sign of life: every other second, what this process does and what its lines wait for.

Comes in: the engine's parts. Goes out: one small hash in Redis that is forgotten a minute after the process (what ``top``,
``why`` and ``status`` read), and how late the event loop ran. It decides nothing, and nothing decides by it. Run by
``service``.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.pace import Pace
from bucketline.sign import SIGN_S, BatchSign, Sign, write_sign
from worker.logs import logger

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["Signs", "memory_bytes"]

_log = logger(__name__)
_LIFE_S = 60
_THOROUGH = 5  #: of so many signs one also sets the clock and drops the dead; the others only say what is
_BEAT_S = 0.25  #: how often the loop is looked at for being late
_RATE_S = 30.0  #: a batch's rate is that of so many seconds
_STATM = Path("/proc/self/statm")


class Signs:
    """The signs of one process."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._offset_s: float | None = None  #: from this machine's clock to Redis'
        self._started_s = 0.0
        self._given = 0
        self._cpu = (time.monotonic(), time.process_time())
        self._paces: dict[str, Pace] = {}
        self._told: set[str] = set()  #: routes that Redis has heard of

    async def run(self) -> None:
        """Give signs until cancelled; first one at once."""
        lag_s = 0.0
        while True:
            try:
                await self.give(lag_s)
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__)
            lag_s = await self._beats()

    async def give(self, lag_s: float = 0.0) -> None:
        """One sign, in one round trip."""
        engine, name = self._engine, self._engine.worker_id
        if self._offset_s is None:
            self._heard(await engine.redis.time())
            self._started_s = self._now_s()
        sign = self.sign(lag_s)
        pipe = engine.redis.pipeline(transaction=False)
        thorough = self._given % _THOROUGH == 0
        self._given += 1
        if thorough:
            pipe.time()
        pipe.hset(keys.worker_hash(name), mapping=write_sign(sign))
        pipe.zadd(keys.WORKERS, {name: sign.seen_s})
        if thorough:
            pipe.expire(keys.worker_hash(name), _LIFE_S)
            pipe.zremrangebyscore(keys.WORKERS, 0, sign.seen_s - _LIFE_S)
        fresh = engine.sight.seconds.keys() - self._told
        if fresh:
            pipe.sadd(keys.ROUTES, *fresh)
        answers = await pipe.execute()
        if thorough:
            self._heard(answers[0])
        self._told |= fresh

    def sign(self, lag_s: float) -> Sign:
        """What there is to say now."""
        engine, now_s = self._engine, self._now_s()
        return Sign(
            worker_id=engine.worker_id,
            seen_s=now_s,
            started_s=self._started_s,
            in_flight=engine.turnstile.in_flight,
            places=engine.turnstile.places,
            open_lines=engine.runner.open_lines,
            open_shards=len(engine.runner.open),
            cpu=self._cpu_share(),
            memory_bytes=memory_bytes(),
            lag_s=lag_s,
            lease_s=engine.settings.worker.lease_s,
            batches=tuple(self._batches()),
            waits=tuple(engine.sight.waits()),
            holds=tuple(engine.gate.holds()),
            troubles=tuple(engine.sight.troubles(self._clock(), self._offset_s or 0.0)),
        )

    def _now_s(self) -> float:
        """On Redis' clock: whoever reads the sign compares it with that, and machines' own clocks differ."""
        return self._clock() + (self._offset_s or 0.0)

    def _heard(self, time: tuple[int, int]) -> None:
        seconds, micros = time
        self._offset_s = seconds + micros / 1e6 - self._clock()

    def _batches(self) -> list[BatchSign]:
        engine, now_s = self._engine, time.monotonic()
        lines: Counter[str] = Counter()
        for shard in engine.runner.open:
            lines[shard.batch_id] += shard.pending
        found = []
        for batch_id, batch in engine.control.batches.items():
            pace = self._paces.setdefault(batch_id, Pace(_RATE_S))
            pace.add(now_s, engine.sight.ended[batch_id])
            found.append(BatchSign(batch_id, lines[batch_id], len(batch.in_flight), pace.lines_per_s))
        for batch_id in self._paces.keys() - engine.control.batches.keys():
            del self._paces[batch_id]
            del engine.sight.ended[batch_id]
        return sorted(found, key=lambda sign: -sign.open_lines)

    def _cpu_share(self) -> float:
        """Of one core, since the last sign."""
        before, now = self._cpu, (time.monotonic(), time.process_time())
        self._cpu = now
        span_s = now[0] - before[0]
        return round((now[1] - before[1]) / span_s, 3) if span_s > 0.1 else 0.0

    async def _beats(self) -> float:
        """Wait for the next sign's time; the longest that the loop was late meanwhile."""
        late_s, until_s = 0.0, time.monotonic() + SIGN_S
        while (began_s := time.monotonic()) < until_s:
            await asyncio.sleep(_BEAT_S)
            late_s = max(late_s, time.monotonic() - began_s - _BEAT_S)
        self._engine.sight.lag_s = late_s
        return late_s


def memory_bytes() -> int:
    """What this process holds in memory now; where the system does not say, the most it ever held."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
