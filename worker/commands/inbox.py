"""``bucketline inbox``: the bucket door by itself; workers with ``--inbox`` have it beside their work.

It lies beside the worker's commands because it runs, and logs, as a service does.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from producer.commands.base import Globals

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def inbox(
        context: typer.Context,
        once: Annotated[
            bool, typer.Option("--once", help="take up what is there, bring the outbox up to date, end")
        ] = False,
    ) -> None:
        """Make batches of the objects put under inbox/, and fill outbox/."""
        from worker.logs import set_up_logs

        set_up_logs()
        asyncio.run(_watch(context.obj, once=once))


async def _watch(options: Globals, *, once: bool) -> None:
    from producer.client import Producer
    from producer.inbox import Inbox, run_inbox
    from producer.outbox import Outbox

    async with Producer(options.config) as producer:
        redis, settings = await producer.redis(), producer.settings
        if not once:
            await run_inbox(producer.store, redis, settings, _stop_on_signals())
            return
        outbox = Outbox(producer.store, redis, every_s=settings.inbox.status_s)
        await outbox.recall()
        await Inbox(producer.store, redis, settings, outbox).once()
        await outbox.publish(wait=True)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    return stop
