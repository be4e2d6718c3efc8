"""``bucketline rerun``: truncated or failed lines once more, as a new batch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from producer.commands.base import BatchId, note, print_json, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def rerun(
        context: typer.Context,
        batch_id: BatchId,
        only: Annotated[
            str, typer.Option(metavar="KINDS", help="truncated, failed, or error codes, with commas between")
        ] = "truncated,failed",
        set_: Annotated[
            list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="set in each body; may be a path")
        ] = None,
        unset: Annotated[list[str] | None, typer.Option(metavar="NAME", help="taken out of each body")] = None,
        model: Annotated[str | None, typer.Option(help="another model for all of them")] = None,
        max_cost: Annotated[str | None, typer.Option(metavar="USD", help="the new batch's budget")] = None,
        window: Annotated[str | None, typer.Option(help="until the deadline, such as 24h")] = None,
    ) -> None:
        """Run some lines of a finished batch again; `results ID --merged` joins both. Prints the new batch's id."""
        from producer.rerun import parse_set

        changes = parse_set(set_ or [])
        asked: dict[str, Any] = {"model": model, "force_model": True if model else None}
        asked |= {"max_cost": max_cost, "window": window}
        batch = with_producer(
            context,
            lambda producer: producer.rerun(batch_id, only=only, set_=changes, unset=unset or (), warn=note, **asked),
        )
        note(f"{batch.lines} lines of {batch_id} run again as {batch.id}.")
        print_json({"id": batch.id, "lines": batch.lines, "rejected": batch.rejected, "rerun_of": batch_id})
