"""The list of models, in the shape that the path and the headers ask for.

In: the path's family, whether the caller speaks Anthropic's wire, the names. Out: a JSON body. ``server`` calls it for
``GET …/models``. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from worker.simulator.wires.base import CREATED_S

__all__ = ["listing"]

_CREATED = "2026-11-18T00:00:00Z"


def listing(names: Sequence[str], *, gemini: bool, anthropic: bool) -> bytes:
    """Every model that is listed by name; a provider that takes any name lists the others."""
    if gemini:
        methods = ["generateContent", "embedContent"]
        models = [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in names]
        return orjson.dumps({"models": models})
    if anthropic:
        data = [{"type": "model", "id": name, "display_name": name, "created_at": _CREATED} for name in names]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return orjson.dumps({"data": data, "has_more": False} | ends)
    owned = [{"id": name, "object": "model", "created": CREATED_S, "owned_by": "simulator"} for name in names]
    return orjson.dumps({"object": "list", "data": owned})
