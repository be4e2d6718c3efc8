"""``bucketline estimate``: tokens and money before anything is sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import JsonFlag, note, print_json, print_table

if TYPE_CHECKING:
    from producer.estimate import Estimate, RouteEstimate

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def estimate(
        context: typer.Context,
        file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is standard input; s3://BUCKET/KEY")],
        model: Annotated[str | None, typer.Option(help="for lines that name none")] = None,
        against: Annotated[
            list[str] | None, typer.Option(metavar="MODEL", help="compare with it; may be given again")
        ] = None,
        json: JsonFlag = False,
    ) -> None:
        """Estimate tokens and cost, low, likely and high, for every route of every model in the file."""
        found = _estimate(context.obj.config, file, model, against or [])
        if json:
            print_json(found.document())
        else:
            _show(found)


def _estimate(config: str | None, file: str, model: str | None, against: list[str]) -> Estimate:
    import asyncio

    from bucketline.settings import load_settings
    from bucketline.store import open_store
    from producer.estimate import estimate

    settings = load_settings(config)

    async def once() -> Estimate:
        store = open_store(settings.store) if settings.store else None
        try:
            return await estimate(file, settings, store=store, when_s=time.time(), model=model, against=against)
        finally:
            if store is not None:
                await store.close()

    return asyncio.run(once())


def _show(found: Estimate) -> None:
    columns = ["model", "route", "lines", "input tokens", "output tokens", "USD low", "likely", "high"]
    columns += ["in / out per M", "context", "latency", "answered", "learned from"]
    rows = []
    for model, routes in found.models.items():
        for position, one in enumerate(routes):
            first = f"{model}" if position == 0 else ("  or" if one.planned else "  against")
            rows.append([first, one.route.name, f"{found.requests[model]:,}", *_cells(one)])
    print_table(columns, rows, right=frozenset(columns[2:10]))
    document = found.document()
    total, unknown = document["usd"], "" if document["complete"] else " and what is unknown"
    note(f"{found.lines:,} lines, {found.rejected:,} of them no requests.")
    note(f"The first route of each model: ${total['likely']}{unknown}, ${total['low']} to ${total['high']}.")
    for model, sentence in found.faults.items():
        note(f"{model}: {sentence}")
    for routes in found.models.values():
        for one in routes:
            if one.too_long:
                note(f"{one.route.name}: {one.too_long:,} lines are likely longer than its {one.context:,} tokens.")


def _cells(one: RouteEstimate) -> list[str]:
    document = one.document()
    money, prices, learnt = document["usd"], document["unit_prices"], one.learnt
    likely = document["input_tokens"]["likely"], document["output_tokens"]["likely"]
    latency, rate = document["latency_p50_s"], document["success_rate"]
    return [
        f"{likely[0]:,}",
        f"{likely[1]:,}",
        *([money["low"], money["likely"], money["high"]] if money else ["unknown"] * 3),
        f"{prices.get('input', '–')} / {prices.get('output', '–')}",
        f"{one.context:,}" if one.context else "–",
        f"{latency:.2f} s" if latency is not None else "–",
        f"{rate:.1%}" if rate is not None else "–",
        f"{len(learnt.batches)} batches" if learnt else "nothing yet",
    ]
