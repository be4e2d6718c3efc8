"""``bucketline work``: one or more supervised worker processes.

Comes in: the configuration and how many processes. Goes out: nothing but the line at work. The parent forks no state:
each process connects anew. A process that dies is started again; SIGTERM to the parent drains all of them; a second
SIGINT ends them at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["MetricsPort", "register"]

MetricsPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT", min=0, max=65535, help="serve /metrics here; further processes take the ports after it"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def work(
        context: typer.Context,
        processes: Annotated[int, typer.Option("--processes", "-n", min=1, help="worker processes")] = 1,
        inbox: Annotated[bool, typer.Option("--inbox", help="take up objects of the inbox too")] = False,
        metrics_port: MetricsPort = None,
    ) -> None:
        """Work off the queue: the same as `arq worker.service.WorkerSettings`, supervised."""
        from worker.supervise import supervise

        def arguments(number: int) -> list[str]:
            # Only the first process watches the inbox: more watchers would only list more often.
            own = ["--inbox"] if inbox and number == 0 else []
            if metrics_port is not None:
                own += ["--metrics-port", str(metrics_port + number if metrics_port else 0)]
            return own

        beside = partial(_beside, inbox=inbox, metrics_port=metrics_port)
        raise typer.Exit(supervise(context.obj.config, processes=processes, beside=beside, arguments=arguments))


async def _beside(engine: Engine, stop: asyncio.Event, *, inbox: bool, metrics_port: int | None) -> None:
    """The further duties of a worker process: metrics, and the bucket door."""
    async with contextlib.AsyncExitStack() as stack:
        if metrics_port is not None:
            from producer.fleet_metrics import FleetCollector
            from producer.market import configured_routes
            from worker.metrics import LineCollector, serve_metrics

            fleet = FleetCollector(engine.redis, [route.name for route in configured_routes(engine.settings)])
            await stack.enter_async_context(serve_metrics(metrics_port, LineCollector(engine), fleet, look=fleet.look))
        if inbox:
            from producer.inbox import run_inbox

            await run_inbox(engine.store, engine.redis, engine.settings, stop)
        else:
            await stop.wait()
