"""``bucketline verify``: the bill of a batch, derived again."""

from __future__ import annotations

import sys

import typer

from producer.commands.base import BatchId, JsonFlag, note, print_json, say, with_producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def verify(context: typer.Context, batch_id: BatchId, json: JsonFlag = False) -> None:
        """Derive counts, digests, usage and cost again from the parts; exits with 1 if anything differs."""
        from producer.verify import verify as derive

        quiet = json or not sys.stderr.isatty()

        def progress(done: int, shards: int) -> None:
            if not quiet and (done == shards or done % 25 == 0):
                sys.stderr.write(f"\r{done} of {shards} shards" + ("\n" if done == shards else ""))

        report = with_producer(context, lambda producer: derive(producer.store, batch_id, progress=progress))
        if json:
            print_json(report.document())
        else:
            for finding in report.findings:
                say(f"{finding.place}: {finding.message}")
            if report.more:
                say(f"and {report.more} more")
            verdict = "everything agrees" if report.ok else f"{len(report.findings) + report.more} things differ"
            note(f"{batch_id}: {report.lines} lines in {report.parts} parts; {verdict}.")
        raise typer.Exit(0 if report.ok else 1)
