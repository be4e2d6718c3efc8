"""``bucketline lines``: the lines of a batch as a table."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.commands.base import BatchId, note, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def lines(
        context: typer.Context,
        batch_id: BatchId,
        file: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="a Parquet file")] = "lines.parquet",
    ) -> None:
        """Write one row a line (ids, route, tokens, cost, latency, error) for DuckDB or pandas."""
        from producer.table import write_table

        rows = with_producer(context, lambda producer: write_table(producer.store, batch_id, file))
        note(f"{file}: {rows:,} rows.")
