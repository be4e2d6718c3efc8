"""``bucketline resume``: a paused batch goes on."""

from __future__ import annotations

import typer

from producer.commands.base import BatchId, note, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def resume(context: typer.Context, batch_id: BatchId) -> None:
        """Let a paused batch go on."""
        with_producer(context, lambda producer: producer.resume(batch_id))
        note(f"{batch_id} goes on.")
