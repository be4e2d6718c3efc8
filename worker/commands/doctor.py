"""``bucketline doctor``: what is missing, in words; with ``--recover``, batches that Redis forgot are put back.

It lies beside the worker's commands because recovery is the worker's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from bucketline.errors import UsageError
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
        batch_id: Annotated[
            str | None, typer.Argument(metavar="[ID]", help="with --recover: only this batch", show_default=False)
        ] = None,
        recover: Annotated[bool, typer.Option("--recover", help="rebuild in Redis what only the store knows")] = False,
        json: JsonFlag = False,
    ) -> None:
        """Check configuration, keys, Redis and store; exits with 0 when nothing is in the way."""
        findings = asyncio.run(_examine(context.obj.config))
        code = max(finding.exit_code for finding in findings)
        if batch_id is not None and not recover:
            raise UsageError("An ID is only for --recover; write `bucketline doctor --recover ID`.")
        recovered = (
            with_producer(context, lambda producer: _recover(producer, batch_id)) if recover and code == 0 else []
        )
        if json:
            print_json({"ok": code == 0, "findings": [_document(one) for one in findings], "recovered": recovered})
        else:
            print_table(["", "what", "how"], [[f.health.value, f.subject, f.sentence] for f in findings])
            for one in recovered:
                note(f"{one} is in Redis again and goes on.")
        raise typer.Exit(code)


async def _examine(config: str | None) -> list[Finding]:
    from producer.doctor import examine

    return [finding async for finding in examine(config)]


async def _recover(producer: Producer, only: str | None) -> list[str]:
    """The batches of the store that are not over and that Redis did not know. Raises BatchNotFound for one that is none.

    Every batch is looked at, also those whose mark under ``unfinished/`` was lost.
    """
    from bucketline.errors import BatchNotFound
    from bucketline.layout import BATCHES, batch_id_of, batch_prefix
    from bucketline.store import NotFound
    from worker.recover import recover

    ledger, redis = await producer.ledger(), await producer.redis()
    files: dict[str, set[str]] = {}
    async for stat in producer.store.list(BATCHES if only is None else batch_prefix(only)):
        batch_id = batch_id_of(stat.key)
        if batch_id is not None:
            files.setdefault(batch_id, set()).add(stat.key.rsplit("/", 1)[-1])
    unfinished = [one for one, names in files.items() if "batch.json" in names and "manifest.json" not in names]
    if only is not None and "batch.json" not in files.get(only, set()):
        raise BatchNotFound(f"There is no batch {only} in {producer.store.address}.")
    wanted = await ledger.unknown(unfinished) if only is None else unfinished
    found = []
    for batch_id in wanted:
        try:
            opened = await recover(batch_id, producer.store, ledger, redis)
        except NotFound:
            continue  # taken away since it was listed
        found += [batch_id] if opened else []
    return found


def _document(finding: Finding) -> dict[str, str]:
    return {"subject": finding.subject, "health": finding.health.value, "sentence": finding.sentence}
