"""The fleet as Prometheus sees it: queue, batches, limits, circuits, workers, as Redis has them.

Comes in: a snapshot before each scrape. Goes out: gauges without any batch in their labels. Every process with a metrics port
shows the same figures of the fleet, so rules take their maximum, never their sum. Called by ``work``, ``inbox`` and ``monitor``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from bucketline.batch import TERMINAL, State
from producer.monitor import Monitor, Snapshot

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["FleetCollector"]

_PATIENCE_S = 2.0  #: a scrape waits no longer for Redis
_MOST = 400  #: commands of one look; a scrape comes every few seconds, not every second


class FleetCollector(Collector):
    """Look, then collect."""

    def __init__(self, redis: Redis, routes: Iterable[str] = ()) -> None:
        self._monitor = Monitor(redis, routes, most=_MOST)
        self._snapshot: Snapshot | None = None

    async def look(self) -> None:
        """Read anew. While Redis is away there is nothing to show, and ``bucketline_redis_up`` says so."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self._snapshot = await self._monitor.look()
        except (RedisError, OSError, TimeoutError):
            self._snapshot = None

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("bucketline_redis_up", "Whether this process reaches Redis.")
        up.add_metric([], float(self._snapshot is not None))
        yield up
        if self._snapshot is not None:
            yield from _queue(self._snapshot)
            yield from _limits(self._snapshot)
            yield from _circuits(self._snapshot)


def _queue(snapshot: Snapshot) -> Iterator[Metric]:
    oldest_s = min((batch.created_s for batch in snapshot.live if not batch.paused), default=snapshot.at_s)
    for name, text, value in (
        ("queue_shards", "Shards on the queue, waiting or at work.", snapshot.tickets),
        ("queue_lines", "Lines of live batches that no worker has open.", snapshot.left_lines - snapshot.open_lines),
        ("queue_age_seconds", "Age of the oldest batch that is not over and not paused.", snapshot.at_s - oldest_s),
        ("workers", "Worker processes that gave a sign of life in the last minute.", len(snapshot.workers)),
    ):
        yield GaugeMetricFamily(f"bucketline_{name}", text, max(0.0, float(value)))
    states = Counter({state: 0 for state in State if state not in TERMINAL})
    states.update(batch.state for batch in snapshot.live)
    family = GaugeMetricFamily("bucketline_batches", "Batches that are not over, by state.", labels=["state"])
    for state, count in states.items():
        family.add_metric([state.value], count)
    yield family
    paused = sum(batch.paused for batch in snapshot.live)
    yield GaugeMetricFamily("bucketline_batches_paused", "Of them, those that an operator has paused.", paused)


def _limits(snapshot: Snapshot) -> Iterator[Metric]:
    limits = GaugeMetricFamily("bucketline_limit", "A limit: requests, tokens or calls.", labels=["scope", "limit"])
    used = GaugeMetricFamily(
        "bucketline_limit_used", "What is used of it in its own period.", labels=["scope", "limit"]
    )
    paused = GaugeMetricFamily(
        "bucketline_scope_paused_seconds", "For how long a provider has told us to wait.", labels=["scope"]
    )
    waiting = GaugeMetricFamily(
        "bucketline_limit_waiting",
        "Requests that wait for room in a scope, by what is short.",
        labels=["scope", "reason"],
    )
    for gauge in snapshot.gauges.values():
        for limit in gauge.limits:
            limits.add_metric([gauge.name, limit.figure], limit.limit)
            used.add_metric([gauge.name, limit.figure], limit.used)
        paused.add_metric([gauge.name], max(0.0, (gauge.paused_until_s or 0.0) - snapshot.at_s))
    held: Counter[tuple[str, str]] = Counter()
    for worker in snapshot.workers:
        for hold in worker.holds:
            held[hold.scope, hold.reason] += hold.waiting
    for key, count in held.items():
        waiting.add_metric(key, count)
    yield from (limits, used, paused, waiting)


def _circuits(snapshot: Snapshot) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "bucketline_circuit_open", "1 while calls may not pass, by what opened it.", labels=["circuit", "kind"]
    )
    for circuit in snapshot.circuits.values():
        family.add_metric([circuit.name, circuit.kind], 1)
    yield family
