"""``bucketline inbox``: the bucket door by itself; workers with ``--inbox`` have it beside their work.

It lies beside the worker's commands because it runs, and logs, as a service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import Globals
from worker.commands.work import MetricsPort

if TYPE_CHECKING:
    from producer.client import Producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def inbox(
        context: typer.Context,
        once: Annotated[
            bool, typer.Option("--once", help="take up what is there, bring the outbox up to date, end")
        ] = False,
        metrics_port: MetricsPort = None,
    ) -> None:
        """Make batches of the objects put under inbox/, and fill outbox/."""
        from worker.logs import set_up_logs

        set_up_logs()
        asyncio.run(_watch(context.obj, once=once, metrics_port=metrics_port))


async def _watch(options: Globals, *, once: bool, metrics_port: int | None) -> None:
    from producer.client import Producer
    from producer.inbox import Inbox, run_inbox
    from producer.outbox import Outbox
    from producer.webhooks import webhooks_of

    async with Producer(options.config) as producer:
        redis, settings = await producer.redis(), producer.settings
        if not once:
            async with _metrics(metrics_port, producer):
                await run_inbox(producer.store, redis, settings, _stop_on_signals())
            return
        webhooks = webhooks_of(redis, settings.webhook, os.environ)
        outbox = Outbox(producer.store, redis, every_s=settings.inbox.status_s, webhooks=webhooks)
        await outbox.recall()
        await Inbox(producer.store, redis, settings, outbox).once()
        await outbox.publish(wait=True)


@contextlib.asynccontextmanager
async def _metrics(port: int | None, producer: Producer) -> AsyncIterator[None]:
    """The fleet's figures and this process's own, where a port was given."""
    if port is None:
        yield
        return
    from producer.fleet_metrics import FleetCollector
    from producer.market import configured_routes
    from worker.metrics import serve_metrics

    fleet = FleetCollector(await producer.redis(), [route.name for route in configured_routes(producer.settings)])
    async with serve_metrics(port, fleet, look=fleet.look):
        yield


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    return stop
