"""What Prometheus scrapes: the sums of one process, read when asked for.

Comes in: a worker's engine, and further collectors, such as the producer's of the whole fleet. Goes out: ``/metrics`` and
``/healthz`` on one port. Nothing is counted here: on the line's way a note is an addition to a dictionary, and all the rest
is the scrape's. Labels are routes, kinds and reasons; no batch and no ``custom_id`` is one, so their number stays small. Run by
``work`` and ``inbox`` with ``--metrics-port``.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from bucketline.errors import ServiceUnavailable
from bucketline.sign import Reason
from worker.logs import logger
from worker.sight import Histogram, Sight

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["LineCollector", "metrics_of", "serve_metrics"]

_log = logger(__name__)
_USD = 1e-9


class LineCollector(Collector):
    """A worker process's line."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        sight = self._engine.sight
        yield from _calls(sight)
        yield from _waits(sight)
        yield from self._line(sight)

    def _line(self, sight: Sight) -> Iterator[Metric]:
        engine = self._engine
        for name, text, value in (
            ("open_lines", "Lines taken up and not recorded yet.", engine.runner.open_lines),
            ("open_shards", "Shards taken up and not ended yet.", len(engine.runner.open)),
            ("in_flight", "Calls on their way.", engine.turnstile.in_flight),
            ("places", "Calls that this process may have on their way.", engine.turnstile.places),
            ("loop_lag_seconds", "The longest that the event loop was late in the last seconds.", sight.lag_s),
        ):
            yield GaugeMetricFamily(f"bucketline_{name}", text, value)
        yield CounterMetricFamily("bucketline_lines", "Lines that came to their end.", sight.lines)
        yield CounterMetricFamily("bucketline_lease_renewals", "Leases of shards renewed.", sight.renewals)
        yield CounterMetricFamily("bucketline_claims_lost", "Shards another worker took over.", sight.claims_lost)


def _calls(sight: Sight) -> Iterator[Metric]:
    calls = CounterMetricFamily("bucketline_attempts", "Calls by how they ended.", labels=["route", "result"])
    for (route, kind), count in list(sight.attempts.items()):
        calls.add_metric([route, kind], count)
    seconds = HistogramMetricFamily("bucketline_request_seconds", "From sent to read, or to failed.", labels=["route"])
    for route, histogram in list(sight.seconds.items()):
        seconds.add_metric([route], _buckets(histogram), histogram.sum)
    tokens = CounterMetricFamily("bucketline_tokens", "Tokens; each counts in one kind.", labels=["route", "kind"])
    for (route, kind), count in list(sight.tokens.items()):
        tokens.add_metric([route, kind], count)
    yield from (calls, seconds, tokens)
    for name, text, sums, factor in (
        ("cost_usd", "What calls cost, as far as it is known.", sight.nanousd, _USD),
        ("unpriced_attempts", "Calls without a known cost.", sight.unpriced, 1.0),
        ("maybe_billed_attempts", "Calls that broke off and may have been billed.", sight.maybe_billed, 1.0),
    ):
        yield _counter(name, text, sums, factor)


def _counter(name: str, text: str, sums: Mapping[str, int], factor: float) -> Metric:
    family = CounterMetricFamily(f"bucketline_{name}", text, labels=["route"])
    for route, value in list(sums.items()):
        family.add_metric([route], value * factor)
    return family


def _waits(sight: Sight) -> Iterator[Metric]:
    lines: Counter[str] = Counter({reason.value: 0 for reason in Reason})
    for (_, reason, _), count in list(sight.waiting.items()):
        lines[reason] += count
    waiting = GaugeMetricFamily("bucketline_waiting_lines", "Open lines by what they wait for.", labels=["reason"])
    for reason, count in lines.items():
        waiting.add_metric([reason], count)
    waited = HistogramMetricFamily("bucketline_wait_seconds", "How long lines waited, by reason.", labels=["reason"])
    for reason, histogram in sight.waited.items():
        waited.add_metric([reason], _buckets(histogram), histogram.sum)
    yield from (waiting, waited)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, as the exposition wants them."""
    total, found = 0, []
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def metrics_of(*collectors: Collector) -> CollectorRegistry:
    """A registry of these and of the process itself (CPU, memory, files, garbage)."""
    registry = CollectorRegistry()
    for collector in (*collectors, PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


@contextlib.asynccontextmanager
async def serve_metrics(
    port: int, *collectors: Collector, look: Callable[[], Awaitable[None]] | None = None, host: str | None = None
) -> AsyncIterator[int]:
    """Serve while the block runs; the port, which is a free one where 0 was asked for. ``look`` runs before a scrape.

    Raises ServiceUnavailable where the port is taken.
    """
    registry = metrics_of(*collectors)

    async def scrape(_: web.Request) -> web.Response:
        if look is not None:
            await look()
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape), web.get("/healthz", alive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ServiceUnavailable(
                f"Port {port} for metrics cannot be had ({error.strerror}); give another."
            ) from None
        bound = int(runner.addresses[0][1])
        _log.info("metrics_served", port=bound)
        yield bound
    finally:
        await runner.cleanup()
