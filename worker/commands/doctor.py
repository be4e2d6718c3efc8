"""``bucketline doctor``: what is missing, in words; with ``--recover``, batches that Redis forgot are put back.

It lies beside the worker's commands because recovery is the worker's.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from bucketline.errors import ConfigError, UsageError
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
        models: Annotated[
            bool, typer.Option("--models", help="ask each provider which models it has, and name those that are gone")
        ] = False,
        json: JsonFlag = False,
    ) -> None:
        """Check configuration, keys, Redis and store; exits with 0 when nothing is in the way."""
        findings = asyncio.run(_examine(context.obj.config, models=models))
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


async def _examine(config: str | None, *, models: bool) -> list[Finding]:
    from bucketline.settings import load_settings
    from producer.doctor import examine
    from worker.model_check import examine_models

    findings = [finding async for finding in examine(config)]
    with contextlib.suppress(ConfigError):  # said under configuration
        findings += await examine_models(load_settings(config)) if models else []
    return findings


async def _recover(producer: Producer, only: str | None) -> list[str]:
    """The batches of the store that are not over and that Redis did not know. Raises BatchNotFound for one that is none.

    Every batch is looked at, also those whose mark under ``unfinished/`` was lost.
    """
    from bucketline.errors import BatchNotFound
    from bucketline.layout import BATCHES, batch_document, manifest_object
    from bucketline.store import NotFound
    from producer.watch import stats_of
    from worker.recover import recover

    ledger, redis = await producer.ledger(), await producer.redis()
    store = producer.store
    looked_at = [only] if only else await ledger.unknown([name async for name in store.folders(BATCHES)])
    documents = await stats_of(store, [batch_document(name) for name in looked_at])
    manifests = await stats_of(store, [manifest_object(name) for name in looked_at])
    if only is not None and documents == [None]:
        raise BatchNotFound(f"There is no batch {only} in {store.address}.")
    states = zip(looked_at, documents, manifests, strict=True)
    found = []
    for batch_id in [name for name, document, manifest in states if document and not manifest]:
        try:
            opened = await recover(batch_id, store, ledger, redis)
        except NotFound:
            continue  # taken away since it was listed
        found += [batch_id] if opened else []
    return found


def _document(finding: Finding) -> dict[str, str]:
    return {"subject": finding.subject, "health": finding.health.value, "sentence": finding.sentence}
