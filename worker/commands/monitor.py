"""``bucketline monitor``: the figures of the whole fleet for Prometheus, by a process that does no work itself.

Comes in: the configuration's Redis, looked at when somebody scrapes. Goes out: ``/metrics`` and ``/healthz`` on one port.
It outlives what it watches: without Redis it goes on, and ``bucketline_redis_up`` is 0. The live screen is ``bucketline top``.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bucketline.settings import Settings

__all__ = ["register", "serve_fleet", "stop_on_signals"]

#: as OpenTelemetry's exporter for Prometheus has it; a worker's usual port stays free on the same machine
PORT = 9464


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def monitor(
        context: typer.Context,
        metrics_port: Annotated[
            int, typer.Option(metavar="PORT", min=0, max=65535, help="serve /metrics and /healthz here")
        ] = PORT,
    ) -> None:
        """Serve the fleet's figures to Prometheus: queue, batches, limits, circuits, workers."""
        from worker.logs import set_up_logs

        set_up_logs()
        asyncio.run(_watch(context.obj.config, metrics_port))


async def _watch(config: str | None, port: int) -> None:
    from bucketline.connect import configured, open_redis
    from bucketline.settings import load_settings

    settings = load_settings(config)
    redis = open_redis(configured(settings.redis_url))
    stop = stop_on_signals()
    async with contextlib.aclosing(redis), serve_fleet(port, redis, settings):
        await stop.wait()


@contextlib.asynccontextmanager
async def serve_fleet(port: int, redis: Redis, settings: Settings) -> AsyncIterator[None]:
    """Serve the fleet's figures, and this process's own, while the block runs. Raises ServiceUnavailable for a taken port."""
    from producer.fleet_metrics import FleetCollector
    from producer.market import configured_routes
    from worker.metrics import serve_metrics

    fleet = FleetCollector(redis, [route.name for route in configured_routes(settings)])
    async with serve_metrics(port, fleet, look=fleet.look):
        yield


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; call it inside the loop."""
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    return stop
