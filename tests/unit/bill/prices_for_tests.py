"""A small catalog and price book for the tests of the bill."""

from __future__ import annotations

from typing import Any

from bucketline.catalog import Catalog, Route
from bucketline.prices import PriceBook
from bucketline.settings import Settings

NOW_S = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


class World:
    """A configuration with what follows from it."""

    def __init__(self, prices: dict[str, Any] | None = None, **sections: Any) -> None:
        providers = {"alpha": {"base_url": "http://127.0.0.1:9/v1"}, "beta": {"base_url": "http://127.0.0.1:9/v1"}}
        providers |= sections.pop("providers", {})
        self.settings = Settings.model_validate({"providers": providers, "prices": prices or {}, **sections})
        self.catalog = Catalog(self.settings)
        self.book = PriceBook(self.settings, clock=lambda: NOW_S)

    def route(self, name: str) -> Route:
        provider, _, model = name.partition("/")
        return Route(self.catalog.provider(provider), model)
