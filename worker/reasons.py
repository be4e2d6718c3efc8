"""Whether a call reasons, and so is long and dear to repeat blindly.

Comes in: a request, its route, and what was measured of the route. Goes out: whether a call that broke off may simply be
sent again there. A model is never judged by its name. Pure; called by ``dispatch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bucketline.catalog import Route
from bucketline.declared import CONFIG_FIELDS
from bucketline.failure import Billed, Failure, Kind
from bucketline.request import Request

__all__ = ["asks_to_reason", "repeats_safely"]

_LONG_S = 30.0  #: a connection that breaks off after this was cut for its length, and would be again
_LITTLE = frozenset({"none", "minimal", "low", "off", "disabled"})


def repeats_safely(failure: Failure, latency_s: float, *, reasons: bool) -> bool:
    """Whether the same call may be sent to the same route again.

    A reasoning call that ran into its time has most likely been worked on and billed, and would run into it again.
    """
    if failure.row.billed is not Billed.MAYBE or not reasons:
        return True
    return failure.kind is not Kind.TIMEOUT_AFTER_SEND and latency_s < _LONG_S


def asks_to_reason(request: Request, route: Route) -> bool:
    """Whether the request, as this route sends it, declares that it wants reasoning."""
    params = request.params
    if route.set or route.unset:
        params = {name: value for name, value in params.items() if name not in route.unset} | dict(route.set)
    effort = params.get("reasoning_effort")
    if effort is None:
        effort = _inner(params, "reasoning").get("effort") or _inner(params, "output_config").get("effort")
    if isinstance(effort, str):
        return effort.lower() not in _LITTLE
    thinking = _inner(params, "thinking")
    if thinking:
        return thinking.get("type") != "disabled"
    if params.get("enable_thinking") is True:
        return True
    return any(_thinks(_inner(params, name)) for name in CONFIG_FIELDS)


def _thinks(config: Mapping[str, Any]) -> bool:
    """Google's ``thinkingConfig``: a budget of 0 turns it off, -1 leaves it to the model."""
    thinking = _inner(config, "thinkingConfig") or _inner(config, "thinking_config")
    budget = thinking.get("thinkingBudget", thinking.get("thinking_budget"))
    level = thinking.get("thinkingLevel", thinking.get("thinking_level"))
    if isinstance(level, str):
        return level.lower() not in _LITTLE
    return isinstance(budget, int) and budget != 0


def _inner(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = params.get(name)
    return value if isinstance(value, dict) else {}
