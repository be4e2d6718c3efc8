"""``bucketline cancel``: end a batch; what was answered is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.commands.base import BatchId, JsonFlag, note, print_json, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def cancel(
        context: typer.Context,
        batch_id: BatchId,
        keep_in_flight: Annotated[
            bool, typer.Option("--finish-in-flight", "--keep-in-flight", help="let sent calls land")
        ] = False,
        json: JsonFlag = False,
    ) -> None:
        """End a batch; answers that are there, and their cost, stay in its results."""
        state = with_producer(context, lambda producer: producer.cancel(batch_id, keep_in_flight=keep_in_flight))
        if json:
            print_json({"id": batch_id, "status": state.value})
        else:
            note(f"{batch_id} is {state}.")
