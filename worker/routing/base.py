"""The socket for routing policies: in which order a line tries the routes of its plan.

Comes in: the plan, what is known of each of its routes, and one draw of the dice. Goes out: indices into
``plan.routes``, the first to be tried first; a route that is left out is not tried at all. Pure: clock, dice and
measurements arrive as arguments. Called by ``orders`` once a line; health, limits and failures do the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bucketline.catalog import Plan

__all__ = ["Facts", "Order", "Policy", "RouteFacts"]


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What is known of one route; None is not known."""

    likely_nanousd: int | None = None  #: what this request would likely cost there
    latency_s: float | None = None  #: measured, decayed
    success: float | None = None  #: share of calls that were answered, measured, decayed


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a line begins; ``routes`` stand in the plan's order."""

    routes: tuple[RouteFacts, ...]
    min_quality: float | None = None


Order = tuple[int, ...]
Policy = Callable[[Plan, Facts, float], Order]  #: plan, facts, a uniform draw in [0, 1) → order
