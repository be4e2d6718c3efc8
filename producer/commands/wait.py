"""``bucketline wait``: until a batch is over."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import BatchId, JsonFlag, print_json, with_producer
from producer.commands.status import show

if TYPE_CHECKING:
    from bucketline.batch import Progress
    from producer.client import Producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def wait(
        context: typer.Context,
        batch_id: BatchId,
        timeout_s: Annotated[float | None, typer.Option("--timeout", min=0, help="seconds; then exit with 3")] = None,
        json: JsonFlag = False,
    ) -> None:
        """Wait for a batch's end; exits with 0 when all lines were answered, with 1 when some were not."""
        from producer.watch import exit_code_of

        progress = with_producer(context, lambda producer: _wait(producer, batch_id, timeout_s))
        if json:
            print_json({"batches": [progress.document()]})
        else:
            show([progress])
        raise typer.Exit(exit_code_of(progress))


async def _wait(producer: Producer, batch_id: str, timeout_s: float | None) -> Progress:
    """A live bar where somebody watches, nothing in a pipe."""
    if not sys.stderr.isatty():
        return await producer.wait(batch_id, timeout_s=timeout_s)
    from rich.console import Console

    from bucketline.bar import Bar
    from producer.timeleft import Limits

    limits = Limits(await producer.redis())
    with Bar(Console(stderr=True, highlight=False)) as bar:
        watching = asyncio.create_task(limits.run(batch_id))
        try:
            return await producer.wait(
                batch_id, timeout_s=timeout_s, show=lambda progress: bar.show(progress, limits.bounds(progress))
            )
        finally:
            watching.cancel()
