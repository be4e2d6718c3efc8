"""From the fold of all lines to the manifest.

Comes in: the batch's document, the tally of its lines, the digests of its files, the price book and the catalog. Goes
out: the ``Manifest``. Called by finish, once a batch; pure, so the same facts give the same bytes. What a line cost
was settled when it was recorded; here it is only summed, shown and set against what other routes would have cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bucketline.batch import BatchDocument, State, iso_time
from bucketline.catalog import Catalog, Route
from bucketline.errors import ConfigError
from bucketline.manifest import (
    Difference,
    FileFacts,
    Manifest,
    ManifestCost,
    ManifestCounts,
    ManifestLatency,
    MaybeBilled,
    RouteRow,
    Saved,
)
from bucketline.money import round_femto, usd
from bucketline.prices import PriceBook
from bucketline.rates import Step
from bucketline.tally import Origin, Tally
from bucketline.tallyrow import RowKey, TallyRow

__all__ = ["build_manifest", "figures", "software"]


def build_manifest(
    document: BatchDocument,
    tally: Tally,
    *,
    status: State,
    finished_s: float,
    files: Mapping[str, FileFacts],
    book: PriceBook,
    catalog: Catalog,
    reason: str | None = None,
) -> Manifest:
    """The manifest of a batch that is over; ``finished_s`` is unix time, ``files`` are named as in the store."""
    created_at = iso_time(document.created_s)
    prices = _prices(tally, book, catalog, (document.created_s, finished_s))
    return Manifest(
        id=document.id,
        source=document.source,
        status=status.value,
        reason=reason,
        created_at=created_at,
        finished_at=iso_time(finished_s),
        metadata=dict(sorted(document.options.metadata.items())),
        files=dict(files),
        rerun_of=document.rerun_of,
        config_digest=document.config_digest,
        software=software(),
        **figures(
            tally,
            prices,
            created_day=created_at[:10],
            max_usd=document.options.max_usd,
            saved=_saved(tally, book, catalog, document.created_s),
        ),
    )


def figures(
    tally: Tally, prices: Mapping[str, Step], *, created_day: str, max_usd: str | None, saved: Saved | None
) -> dict[str, Any]:
    """The members of a manifest that are sums over lines; ``prices`` are the price rows by key.

    verify calls this too, with a tally that it derived itself.
    """
    latency = tally.latency
    return {
        "counts": ManifestCounts(
            total=tally.total,
            completed=tally.completed,
            failed=tally.failed,
            cancelled=tally.cancelled,
            attempts=tally.attempts,
            retries=tally.retries,
            fallbacks=tally.fallbacks,
            truncated=tally.truncated,
        ),
        "usage": tally.usage.document(),
        "cost": _cost(tally, prices, created_day=created_day, max_usd=max_usd, saved=saved),
        "latency_s": ManifestLatency(p50=latency.quantile_s(0.5), p95=latency.quantile_s(0.95), max=latency.max_s),
        "errors": dict(sorted(tally.errors.items())),
    }


def software() -> str:
    """This program and its version, as a manifest names it."""
    try:
        return f"bucketline {version('bucketline')}"
    except PackageNotFoundError:
        return "bucketline"


def _prices(tally: Tally, book: PriceBook, catalog: Catalog, times_s: tuple[float, ...]) -> dict[str, Step]:
    """The price rows of all keys; those whose row was lost with a worker are looked up again."""
    prices = dict(tally.prices)
    for key, origin in tally.origins.items():
        if key not in prices:
            step = _look_up(key, origin, book, catalog, times_s)
            if step is not None:
                prices[key] = step
    return prices


def _cost(
    tally: Tally, prices: Mapping[str, Step], *, created_day: str, max_usd: str | None, saved: Saved | None
) -> ManifestCost:
    most = None if tally.maybe_unknown else _usd(tally.maybe_nanousd)
    return ManifestCost(
        usd=_usd(tally.nanousd),
        complete=tally.complete,
        failed_attempts_usd=_usd(tally.failed_nanousd),
        maybe_billed_usd=_usd(tally.maybe_nanousd),
        max_usd=max_usd,
        unpriced=sorted(tally.unpriced),
        failed_attempts=tally.failed_attempts,
        maybe_billed=MaybeBilled(attempts=tally.maybe_attempts, low_usd="0", high_usd=most),
        without_usage=tally.without_usage,
        unknown_cost=tally.unknown_cost,
        reported_differences=_differences(tally),
        saved=saved,
        by_route=_rows(tally, prices, created_day),
    )


def _rows(tally: Tally, prices: Mapping[str, Step], created_day: str) -> list[RouteRow]:
    """The rows of all models asked for, together by route and price; the costliest first, then by name."""
    sums: dict[RowKey, TallyRow] = {}
    for key, row in sorted(tally.rows.items()):
        sums.setdefault(key._replace(requested_model=""), TallyRow()).merge(row)
    ordered = sorted(sums.items(), key=lambda pair: (-pair[1].nanousd, pair[0]))
    return [_row(key, row, prices.get(key.price_key), created_day) for key, row in ordered]


def _row(key: RowKey, row: TallyRow, step: Step | None, created_day: str) -> RouteRow:
    known = bool(key.price_key) or row.reported > 0
    return RouteRow(
        provider=key.provider,
        model=key.model,
        tier=key.tier,
        price_key=key.price_key,
        priced_as=None if step is None else step.model,
        over_input_tokens=None if step is None else step.over_input_tokens,
        requests=row.requests,
        usage=row.usage.document(),
        usd=usd(row.nanousd) if known else None,
        failed_requests=row.failed_requests,
        failed_usd=_usd(row.failed_nanousd),
        unit_prices={} if step is None else dict(step.unit_prices),
        price_source=None if step is None else step.source,
        price_date=None if step is None else step.date or created_day,
    )


def _differences(tally: Tally) -> list[Difference]:
    sums: dict[tuple[str, str], TallyRow] = defaultdict(TallyRow)
    for key, row in tally.rows.items():
        if row.differing:
            sums[key.provider, key.model].merge(row)
    return [
        Difference(
            provider=provider,
            model=model,
            requests=row.differing,
            reported_usd=_usd(row.differing_reported_nanousd),
            computed_usd=_usd(row.differing_computed_nanousd),
        )
        for (provider, model), row in sorted(sums.items())
    ]


def _saved(tally: Tally, book: PriceBook, catalog: Catalog, when_s: float) -> Saved | None:
    """What the tokens of each model asked for would have cost on its first and its dearest route.

    Other routes are priced at the step of the mean prompt: the sums no longer know single prompts. A model whose
    routes are not all priced is left out.
    """
    by_model: dict[str, list[tuple[RowKey, TallyRow]]] = defaultdict(list)
    for key, row in tally.rows.items():
        by_model[key.requested_model].append((key, row))
    first = dearest = 0
    compared = False
    for model, rows in by_model.items():
        routes = _routes(catalog, model)
        sums = [_elsewhere(book, route, rows, when_s) for route in routes]
        known = [nanousd for nanousd in sums if nanousd is not None]
        if len(routes) < 2 or len(known) < len(routes) or not all(key.price_key for key, _ in rows):
            continue
        paid = sum(row.nanousd for _, row in rows)
        first += known[0] - paid
        dearest += max(known) - paid
        compared = True
    return Saved(against_first_usd=_usd(first), against_dearest_usd=_usd(dearest)) if compared else None


def _elsewhere(book: PriceBook, route: Route, rows: list[tuple[RowKey, TallyRow]], when_s: float) -> int | None:
    """What the rows' tokens would have cost on one route; the price row that was paid is itself."""
    total = 0
    for key, row in rows:
        if (key.provider, key.model) == (route.provider.name, route.model):
            total += row.nanousd
            continue
        price = book.price(route, when_s, tier=key.tier) or book.price(route, when_s)
        calls = row.requests + row.failed_requests
        if price is None or not calls:
            return None
        rates = price.step(row.input_tokens // calls).rates
        femto = rates.femto(row.usage)
        if femto is None:
            return None
        total += round_femto(femto + rates.request * (calls - 1))
    return total


def _routes(catalog: Catalog, model: str) -> tuple[Route, ...]:
    try:
        return catalog.plan(model).routes
    except ConfigError:
        return ()


def _look_up(key: str, origin: Origin, book: PriceBook, catalog: Catalog, times_s: tuple[float, ...]) -> Step | None:
    """The price row of a key that came without it, found again by pricing the same call at those times."""
    provider, model, served_model, tier = origin
    try:
        route = Route(catalog.provider(provider), model)
    except ConfigError:
        return None
    for when_s in times_s:
        price = book.price(route, when_s, served_model=served_model or None, tier=tier)
        for step in price.steps if price else ():
            if step.key == key:
                return step
    return None


def _usd(nanousd: int) -> str:
    return usd(nanousd) or "0"
