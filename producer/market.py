"""The routes side by side: where they are, how they do by our own traffic, and what they cost.

Comes in: the configuration, the prices, and what workers measured. Goes out: one ``Offer`` a route. Called by ``providers``.
Unknown is None, never nought.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bucketline.catalog import Catalog, Route
from bucketline.errors import ConfigError
from bucketline.measured import Measured
from bucketline.prices import PriceBook
from bucketline.settings import Settings

__all__ = ["Offer", "configured_routes", "offers"]


@dataclass(frozen=True, slots=True)
class Offer:
    """One route. Prices are USD per million tokens, decimal text."""

    provider: str
    model: str
    region: str | None
    measured: Measured | None
    price_in: str | None
    price_out: str | None
    context_tokens: int | None

    def document(self) -> dict[str, Any]:
        """The entry of ``providers --json``."""
        known = self.measured
        return {
            "provider": self.provider,
            "model": self.model,
            "region": self.region,
            "latency_p50_s": known.p50_s if known else None,
            "latency_p95_s": known.p95_s if known else None,
            "tokens_per_s": round(known.tokens_per_s, 1) if known and known.tokens_per_s else None,
            "success_rate": round(known.success, 4) if known and known.success is not None else None,
            "calls": round(known.calls, 1) if known else 0,
            "price_input_usd_per_mtok": self.price_in,
            "price_output_usd_per_mtok": self.price_out,
            "context_tokens": self.context_tokens,
        }


def configured_routes(settings: Settings) -> list[Route]:
    """Every route that the configuration's models name, in its order, each once."""
    catalog, found = Catalog(settings), dict[str, Route]()
    for model in settings.models:
        for route in catalog.plan(model).routes:
            found.setdefault(route.name, route)
    return list(found.values())


def offers(settings: Settings, measured: Mapping[str, Measured], called: Iterable[str]) -> list[Offer]:
    """The configured routes, then those that were called though no model names them."""
    catalog, book, now_s = Catalog(settings), PriceBook(settings), time.time()
    routes = {route.name: route for route in configured_routes(settings)}
    for name in called:
        provider, _, model = name.partition("/")
        if name not in routes and model:
            try:
                routes[name] = Route(catalog.provider(provider), model)
            except ConfigError:
                continue  # another configuration's worker called it; here nothing is known of it
    return [_offer(route, measured.get(name), book, now_s) for name, route in routes.items()]


def _offer(route: Route, measured: Measured | None, book: PriceBook, now_s: float) -> Offer:
    from bucketline.price_package import context_tokens

    price = book.price(route, now_s)
    rates = price.step(0).unit_prices if price is not None else {}
    provider = route.provider
    context = route.context_tokens or context_tokens(provider.price_as, route.model)
    return Offer(
        provider.name, route.model, provider.region, measured, rates.get("input"), rates.get("output"), context
    )
