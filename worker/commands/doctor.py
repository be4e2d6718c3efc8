"""``bucketline doctor``: what is missing, in words; with ``--recover``, batches that Redis forgot are put back.

It lies beside the worker's commands because recovery is the worker's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import JsonFlag, note, print_json, print_table, with_producer

if TYPE_CHECKING:
    from producer.client import Producer
    from producer.doctor import Finding

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def doctor(
        context: typer.Context,
        recover: Annotated[bool, typer.Option("--recover", help="rebuild in Redis what only the store knows")] = False,
        json: JsonFlag = False,
    ) -> None:
        """Check configuration, keys, Redis and store; exits with 0 when nothing is in the way."""
        findings = asyncio.run(_examine(context.obj.config))
        code = max(finding.exit_code for finding in findings)
        recovered = with_producer(context, _recover) if recover and code == 0 else []
        if json:
            print_json({"ok": code == 0, "findings": [_document(one) for one in findings], "recovered": recovered})
        else:
            print_table(["", "what", "how"], [[f.health.value, f.subject, f.sentence] for f in findings])
            for batch_id in recovered:
                note(f"{batch_id} is in Redis again and goes on.")
        raise typer.Exit(code)


async def _examine(config: str | None) -> list[Finding]:
    from producer.doctor import examine

    return [finding async for finding in examine(config)]


async def _recover(producer: Producer) -> list[str]:
    """The batches of the store that are not over and that Redis did not know."""
    from bucketline.layout import BATCHES, batch_id_of
    from worker.recover import recover

    ledger, redis = await producer.ledger(), await producer.redis()
    files: dict[str, set[str]] = {}
    async for stat in producer.store.list(BATCHES):
        batch_id = batch_id_of(stat.key)
        if batch_id is not None:
            files.setdefault(batch_id, set()).add(stat.key.rsplit("/", 1)[-1])
    found = []
    for batch_id, names in files.items():
        unfinished = "batch.json" in names and "manifest.json" not in names
        if unfinished and await ledger.progress(batch_id) is None:
            await recover(batch_id, producer.store, ledger, redis)
            found.append(batch_id)
    return found


def _document(finding: Finding) -> dict[str, str]:
    return {"subject": finding.subject, "health": finding.health.value, "sentence": finding.sentence}
