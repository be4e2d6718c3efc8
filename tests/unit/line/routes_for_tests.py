"""Routes as the catalog makes them, without a configuration."""

from __future__ import annotations

from typing import Any

from bucketline.catalog import Limits, Provider, Route


def a_route(name: str = "alpha", model: str = "m", **fields: Any) -> Route:
    provider = Provider(name, "openai", "http://127.0.0.1", None, None, name, Limits(), {}, {}, name, "auto")
    return Route(provider, model, **fields)
