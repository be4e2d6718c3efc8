"""``bucketline pause``: no new calls of a batch until it is resumed."""

from __future__ import annotations

import typer

from producer.commands.base import BatchId, note, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def pause(context: typer.Context, batch_id: BatchId) -> None:
        """Send no new calls of a batch; those in flight land."""
        with_producer(context, lambda producer: producer.pause(batch_id))
        note(f"{batch_id} is paused; `bucketline resume {batch_id}` lets it go on.")
