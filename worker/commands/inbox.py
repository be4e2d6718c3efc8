"""``bucketline inbox``: the bucket door by itself; workers with ``--inbox`` have it beside their work.

It lies beside the worker's commands because it runs, and logs, as a service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Annotated

import typer

from producer.commands.base import Globals
from worker.commands.monitor import serve_fleet, stop_on_signals
from worker.commands.work import MetricsPort

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
            beside = contextlib.nullcontext() if metrics_port is None else serve_fleet(metrics_port, redis, settings)
            async with beside:
                await run_inbox(producer.store, redis, settings, stop_on_signals())
            return
        webhooks = webhooks_of(redis, settings.webhook, os.environ)
        outbox = Outbox(producer.store, redis, every_s=settings.inbox.status_s, webhooks=webhooks)
        await outbox.recall()
        await Inbox(producer.store, redis, settings, outbox).once()
        await outbox.publish(wait=True)
