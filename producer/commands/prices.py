"""``bucketline prices``: which prices a model's calls are billed at, from where, and as of when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.base import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from bucketline.rates import Step

__all__ = ["register"]

_TIERS = ("standard", "batch", "flex", "priority")
_SHOWN = ("input", "cached_input", "cache_write", "cache_write_1h", "output")


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def prices(
        context: typer.Context,
        model: Annotated[str, typer.Argument(metavar="MODEL", help="as a line's model says it, or PROVIDER/MODEL")],
        on: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="the day of the call; else now")] = None,
        json: JsonFlag = False,
    ) -> None:
        """Show the prices of every route of a model, USD per million tokens."""
        document = price_document(context.obj.config, model, on)
        if json:
            print_json(document)
        else:
            _show(document)


def price_document(config: str | None, model: str, on: str | None) -> dict[str, Any]:
    """The routes of a model with every price row that is known of each. Raises ConfigError, UsageError."""
    from bucketline.batch import iso_time
    from bucketline.catalog import Catalog
    from bucketline.prices import PriceBook
    from bucketline.settings import load_settings

    settings = load_settings(config)
    book = PriceBook(settings)
    when_s = time.time() if on is None else _noon_s(on)
    routes = []
    for route in Catalog(settings).plan(model).routes:
        found = {tier: book.price(route, when_s, tier=tier) for tier in _TIERS}
        rows = [step for price in found.values() if price is not None for step in price.steps]
        routes.append({"route": route.name, "priced": bool(rows), "prices": [_row(step) for step in rows]})
    return {"model": model, "as_of": iso_time(when_s), "routes": routes}


def _row(step: Step) -> dict[str, Any]:
    return {"key": step.key, **step.document()}


def _noon_s(day: str) -> float:
    from datetime import UTC, datetime

    from bucketline.errors import UsageError

    try:
        return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise UsageError(f"--on is {day!r}; write a day such as 2026-01-31.") from None


def _show(document: dict[str, Any]) -> None:
    rows = []
    for route in document["routes"]:
        for row in route["prices"]:
            figures = row["unit_prices"]
            others = [f"{name} {value}" for name, value in figures.items() if name not in _SHOWN]
            over = row["over_input_tokens"]
            tier = row["tier"] + (f", over {over:,}" if over is not None else "")
            source = row["source"] + (f", since {row['date']}" if row["date"] else "")
            cells = [figures.get(name, "–") for name in _SHOWN]
            rows.append([route["route"], tier, *cells, ", ".join(others), row["model"], source])
        if not route["priced"]:
            rows.append([route["route"], "unknown", *["–"] * len(_SHOWN), "", "", "add it under [prices]"])
    columns = ["route", "tier", "input", "cached", "write", "write 1h", "output", "others", "priced as", "from"]
    print_table(columns, rows, right=frozenset(columns[2:7]))
