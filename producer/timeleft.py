"""How long a batch has left, by what was observed and by the limits that its lines go through.

Comes in: a snapshot. Goes out: bounds for ``bucketline.pace``, and seconds. A batch's scopes are those its lines wait for; where none
waits, nothing binds. Tokens a line are those of its finished lines. Called by ``status``, ``wait`` and ``top``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline.batch import TERMINAL, Progress
from bucketline.gauge import Gauge
from bucketline.pace import Bound, time_left_s
from bucketline.sign import Reason
from producer.monitor import Monitor, Snapshot

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Going", "Limits", "bounds_of", "going", "left_s", "scopes_of"]

_LOOK_S = 2.0
_TOKENS = {"tpm", "tpd"}
_REQUESTS = {"rpm", "rpd"}


def scopes_of(batch_id: str, snapshot: Snapshot) -> list[str]:
    """The scopes whose room the batch's lines wait for: the lane's own, and those above it that hold it up."""
    found: dict[str, None] = {}
    for worker in snapshot.workers:
        lanes = {w.where for w in worker.waits if w.batch_id == batch_id and w.reason == Reason.PERMIT}
        for lane in sorted(lanes):
            found[lane] = None
        for hold in worker.holds:
            if hold.lane in lanes:
                found[hold.scope] = None
    return list(found)


def bounds_of(batch: Progress, gauges: Iterable[Gauge], now_s: float) -> list[Bound]:
    """What the limits of these scopes let through, in lines like the batch's finished ones."""
    done = batch.counts.done
    calls_each = batch.attempts / done if done and batch.attempts else 1.0
    tokens_each = batch.tokens / done if done else 0.0
    found = []
    for gauge in gauges:
        for limit in gauge.limits:
            each = tokens_each if limit.figure in _TOKENS else calls_each if limit.figure in _REQUESTS else 0.0
            if not each:
                continue
            if limit.figure.endswith("pm"):
                found.append(Bound(each, per_s=limit.limit / 60))
            else:
                resets_in_s = max(0.0, (gauge.day_resets_s or now_s) - now_s)
                left = max(0, limit.limit - limit.used)
                found.append(Bound(each, per_day=limit.limit, left_today=left, resets_in_s=resets_in_s))
    return found


def left_s(batch: Progress, snapshot: Snapshot, lines_per_s: float, *, wait_s: float = 0.0) -> float | None:
    """Seconds until the batch's lines are done; None while nothing tells."""
    if batch.paused:
        return None
    gauges = [gauge for name in scopes_of(batch.id, snapshot) if (gauge := snapshot.gauges.get(name)) is not None]
    bounds = bounds_of(batch, gauges, snapshot.at_s)
    return time_left_s(batch.counts.total - batch.counts.done, lines_per_s, bounds, wait_s=wait_s)


@dataclass(frozen=True, slots=True)
class Going:
    """How a batch goes: lines per second as workers observed it, and the seconds left, None where nothing tells."""

    lines_per_s: float = 0.0
    left_s: float | None = None

    def document(self) -> dict[str, float | None]:
        """Members of the entry of ``status --json``."""
        return {
            "lines_per_s": round(self.lines_per_s, 2),
            "left_s": None if self.left_s is None else round(self.left_s, 1),
        }


async def going(redis: Redis, batches: Sequence[Progress]) -> dict[str, Going]:
    """How batches go at the moment; without one that runs, nothing is read."""
    if all(batch.state in TERMINAL for batch in batches):
        return {batch.id: Going() for batch in batches}
    snapshot = await Monitor(redis, listed=1).look_at_all()
    found = {}
    for batch in batches:
        rate = snapshot.lines_per_s(batch.id)
        left = None if batch.state in TERMINAL else left_s(batch, snapshot, rate)
        found[batch.id] = Going(rate, left)
    return found


class Limits:
    """The bounds of one batch, kept fresh beside a wait for it."""

    def __init__(self, redis: Redis) -> None:
        self._monitor = Monitor(redis)
        self._snapshot: Snapshot | None = None

    async def run(self, batch_id: str) -> None:
        """Look every other second until cancelled; Redis' absence is somebody else's news."""
        while True:
            try:
                self._monitor.watch([batch_id])
                self._snapshot = await self._monitor.look()
            except (RedisError, OSError):
                self._snapshot = None
            await asyncio.sleep(_LOOK_S)

    def bounds(self, batch: Progress) -> Sequence[Bound]:
        """What is known by now."""
        if self._snapshot is None:
            return ()
        snapshot = self._snapshot
        gauges = [gauge for name in scopes_of(batch.id, snapshot) if (gauge := snapshot.gauges.get(name)) is not None]
        return bounds_of(batch, gauges, snapshot.at_s)
