"""``bucketline results``: the files of a batch that is over."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.commands.base import BatchId, JsonFlag, note, print_json, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def results(
        context: typer.Context,
        batch_id: BatchId,
        folder: Annotated[str, typer.Option("--output", "-o", help="a folder, or s3://BUCKET/PREFIX")],
        merged: Annotated[bool, typer.Option("--merged", help="of a rerun: joined with the batch it reran")] = False,
        json: JsonFlag = False,
    ) -> None:
        """Fetch output.jsonl, errors.jsonl and manifest.json; exits with 3 while the batch is not over."""
        manifest = with_producer(context, lambda producer: producer.results(batch_id, folder, merged=merged))
        counts = manifest["counts"]
        if json:
            status = manifest.get("status", "completed")
            print_json({"id": batch_id, "folder": folder, "status": status, "counts": counts})
        else:
            note(f"{folder}: {counts['completed']} of {counts['total']} lines answered, ${manifest['cost']['usd']}.")
        raise typer.Exit(0 if counts["completed"] == counts["total"] else 1)
