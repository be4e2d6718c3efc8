"""Whether a call is streamed from the provider and put together again.

Comes in: a line and its route. Goes out: yes or no, by ``provider.stream``; under ``auto`` yes for models and
parameters that think for long, since silent connections are cut (by LLM API after 80 s, by Moonshot after 900 s, by
proxies after 60 s). Called by the adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from bucketline.catalog import Route
from bucketline.declared import declared_cap_tokens
from bucketline.request import Request
from worker.providers.quirks import quirks_of

__all__ = ["wants_stream"]

# Tuples: what is looked up stands in a line, and may be a list.
_LONG_EFFORTS = ("high", "xhigh", "max", "HIGH", "XHIGH")
_THOUGHT = frozenset({"reasoning_effort", "reasoning", "output_config", "thinking", "generationConfig"})
_SHORT_EFFORTS = ("none", "minimal", "low")
_LONG_OUTPUT_TOKENS = 21_333  #: at 36 tokens a second more than ten minutes, where Anthropic's SDK stops waiting


def wants_stream(request: Request, route: Route) -> bool:
    """The answer for this call; the first line says what costs nothing to know."""
    stream = route.provider.stream
    if stream != "auto":
        return stream == "always"
    params = request.params
    if _family_streams(route.provider.preset, route.provider.base_url, route.model):
        return params.get("reasoning_effort") not in _SHORT_EFFORTS
    return _thinks_long(params) or (declared_cap_tokens(params) or 0) > _LONG_OUTPUT_TOKENS


@lru_cache(maxsize=4096)
def _family_streams(preset: str | None, base_url: str, model: str) -> bool:
    return any(family.streams for family in quirks_of(preset, base_url).families_of(model))


def _thinks_long(params: Mapping[str, Any]) -> bool:
    if _THOUGHT.isdisjoint(params):
        return False
    if params.get("reasoning_effort") in _LONG_EFFORTS:
        return True
    for name in ("reasoning", "output_config"):
        inner = params.get(name)
        if isinstance(inner, dict) and inner.get("effort") in _LONG_EFFORTS:
            return True
    thinking = params.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive"):
        return True
    config = params.get("generationConfig")
    level = config.get("thinkingConfig") if isinstance(config, dict) else None
    return isinstance(level, dict) and level.get("thinkingLevel") in _LONG_EFFORTS
