"""What a request's body declares of the size of its answers: how many there may be, and how long each.

Comes in: a parsed body, in any form. Goes out: the output cap, and the number of answers; what makes no sense as either
counts as not said. Pure; called by whoever reserves, estimates or changes what an answer may take.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CAP_FIELDS", "CONFIG_FIELDS", "declared_cap_tokens", "declared_choices"]

#: the spellings of "at most so many output tokens", by provider
CAP_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
_CAPS = frozenset(CAP_FIELDS)
#: the spellings of the member in which Google's bodies keep their settings
CONFIG_FIELDS = ("generationConfig", "generation_config", "config")
_CONFIGS = frozenset(CONFIG_FIELDS)
_CHOICES = ("n", "candidateCount", "candidate_count")


def declared_cap_tokens(params: dict[str, Any]) -> int | None:
    """The largest output cap that a body declares in any spelling, None where it declares none."""
    caps = [place[name] for place in _places(params) for name in _CAPS & place.keys()]
    return max([cap for cap in caps if type(cap) is int and cap > 0], default=None)


def declared_choices(params: dict[str, Any]) -> int:
    """How many answers a body asks for, each as long as its cap at most; 1 where it does not say."""
    counts = [place[name] for place in _places(params) for name in _CHOICES if name in place]
    return max([count for count in counts if type(count) is int and count > 0], default=1)


def _places(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a body's settings stand: in itself, and in Google's member for them."""
    if _CONFIGS.isdisjoint(params):
        return [params]
    return [params, *[config for name in CONFIG_FIELDS if isinstance(config := params.get(name), dict)]]
