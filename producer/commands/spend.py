"""``bucketline spend``: what was spent, over all batches of the store."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from producer.commands.base import JsonFlag, note, print_json, print_table, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def spend(
        context: typer.Context,
        by: Annotated[
            str,
            typer.Option(help="sum by any of provider, model, tier, day, month, batch, source, status, metadata.KEY"),
        ] = "provider,model",
        since: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="batches made on that day or later")] = "",
        until: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="batches made on that day or before")] = "9999",
        json: JsonFlag = False,
    ) -> None:
        """Sum the manifests of finished batches."""
        from producer.spend import spend as add_up

        names = [name.strip() for name in by.split(",") if name.strip()]
        found = with_producer(context, lambda producer: add_up(producer.store, names, since=since, until=until))
        document = found.document()
        if json:
            print_json(document)
        else:
            _show(document)


def _show(document: dict[str, Any]) -> None:
    figures = ["batches", "calls", "input tokens", "output tokens", "USD"]
    rows = [
        [
            *(row[name] or "–" for name in document["by"]),
            f"{row['batches']:,}",
            f"{row['requests']:,}",
            f"{row['input_tokens']:,}",
            f"{row['output_tokens']:,}",
            row["usd"] + (f" and {row['unknown_requests']:,} calls unpriced" if row["unknown_requests"] else ""),
        ]
        for row in document["rows"]
    ]
    print_table([*document["by"], *figures], rows, right=frozenset(figures))
    note(f"{document['batches']:,} batches, ${document['usd']}.")
    if not document["complete"]:
        maybe = document["maybe_billed_usd"]
        note(
            f"{document['incomplete_batches']:,} of them have bills that are not complete; up to ${maybe} may come on top."
        )
