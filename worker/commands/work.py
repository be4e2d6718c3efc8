"""``bucketline work``: one or more supervised worker processes.

Comes in: the configuration and how many processes. Goes out: nothing but the line at work. The parent forks no state:
each process connects anew. A process that dies is started again; SIGTERM to the parent drains all of them; a second
SIGINT ends them at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.engine import Engine

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def work(
        context: typer.Context,
        processes: Annotated[int, typer.Option("--processes", "-n", min=1, help="worker processes")] = 1,
        inbox: Annotated[bool, typer.Option("--inbox", help="take up objects of the inbox too")] = False,
    ) -> None:
        """Work off the queue: the same as `arq worker.service.WorkerSettings`, supervised."""
        from worker.supervise import supervise

        beside, arguments = (_inbox, ("--inbox",)) if inbox else (None, ())
        raise typer.Exit(supervise(context.obj.config, processes=processes, beside=beside, arguments=arguments))


async def _inbox(engine: Engine, stop: asyncio.Event) -> None:
    """The bucket door inside a worker process."""
    from producer.inbox import run_inbox

    await run_inbox(engine.store, engine.redis, engine.settings, stop)
