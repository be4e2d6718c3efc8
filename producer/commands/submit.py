"""``bucketline submit``: a file becomes a batch; its id is the answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from producer.commands.base import note, print_json, with_producer

__all__ = ["register"]


class Duplicates(StrEnum):
    """What becomes of a repeated custom_id."""

    REFUSE = "refuse"
    NUMBER = "number"


class Unpriced(StrEnum):
    """What becomes of a model without a price under a budget."""

    REFUSE = "refuse"
    ALLOW = "allow"


class OnBudget(StrEnum):
    """What happens when the budget is used up."""

    STOP = "stop"
    DOWNGRADE = "downgrade"


class OnQuota(StrEnum):
    """What happens when an account is exhausted or a key bad."""

    WAIT = "wait"
    FAIL = "fail"


class OnTruncated(StrEnum):
    """What becomes of an answer that met its output cap."""

    MARK = "mark"
    RAISE = "raise"


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def submit(
        context: typer.Context,
        file: Annotated[str, typer.Argument(help="JSON lines: a path, - for standard input, or s3://BUCKET/KEY")],
        model: Annotated[str | None, typer.Option(help="the model of lines that name none")] = None,
        force_model: Annotated[bool, typer.Option("--force-model", help="--model for every line")] = False,
        max_cost: Annotated[str | None, typer.Option(metavar="USD", help="the budget")] = None,
        window: Annotated[str | None, typer.Option(help="until the deadline, such as 24h")] = None,
        priority: Annotated[int | None, typer.Option(min=0, max=9, help="higher goes first; 5 is usual")] = None,
        metadata: Annotated[list[str] | None, typer.Option(metavar="K=V", help="kept in the manifest")] = None,
        strict: Annotated[bool, typer.Option("--strict", help="one bad line refuses the whole")] = False,
        duplicates: Annotated[Duplicates, typer.Option(help="a custom_id that is repeated")] = Duplicates.REFUSE,
        unpriced: Annotated[Unpriced | None, typer.Option(help="a model without a price under --max-cost")] = None,
        on_budget: Annotated[OnBudget | None, typer.Option(help="when the budget is used up")] = None,
        on_quota: Annotated[OnQuota | None, typer.Option(help="when an account is exhausted")] = None,
        on_truncated: Annotated[OnTruncated | None, typer.Option(help="answers that met their output cap")] = None,
        min_quality: Annotated[float | None, typer.Option(help="of the routes, under the best policy")] = None,
        dedupe: Annotated[bool, typer.Option("--dedupe", help="equal requests are sent once")] = False,
        raw: Annotated[bool, typer.Option("--raw", help="keep a translated answer's own body too")] = False,
        repair: Annotated[bool, typer.Option("--repair", help="ask again where an answer broke its schema")] = False,
        idempotency_key: Annotated[str | None, typer.Option(help="the same key gives the same batch again")] = None,
        check_keys: Annotated[
            bool, typer.Option("--check-keys/--no-check-keys", help="refuse when a provider's key is not set here")
        ] = True,
    ) -> None:
        """Make a batch of a file; prints its id."""
        from producer.options import metadata_pairs

        asked: dict[str, Any] = {
            "model": model, "force_model": force_model or None, "max_cost": max_cost, "window": window,
            "priority": priority, "metadata": metadata_pairs(metadata) if metadata else None,
            "unpriced": unpriced, "on_budget": on_budget, "on_quota": on_quota, "on_truncated": on_truncated,
            "min_quality": min_quality, "dedupe": dedupe or None, "raw": raw or None, "repair": repair or None,
        }  # fmt: skip
        batch = with_producer(
            context,
            lambda producer: producer.submit(
                file,
                strict=strict,
                duplicates=duplicates.value,
                check_keys=check_keys,
                idempotency_key=idempotency_key,
                warn=note,
                **asked,
            ),
        )
        if batch.rejected:
            note(f"{batch.rejected} of {batch.lines} lines cannot be sent; errors.jsonl will say why.")
        print_json({"id": batch.id, "lines": batch.lines, "rejected": batch.rejected})
