"""The policy ``best``: quality first, or the cheapest that is good enough."""

from __future__ import annotations

from bucketline.catalog import Plan
from worker.routing.base import Facts, Order
from worker.routing.cheapest import by_price

__all__ = ["order"]


def order(plan: Plan, facts: Facts, draw: float) -> Order:
    """With a least quality: the routes that reach it, the cheapest first, and no others. Without: the best first.

    A route without a figure of quality reaches no least quality, and comes last where none is asked for.
    """
    least = facts.min_quality
    indices = range(len(plan.routes))
    if least is None:
        return tuple(sorted(indices, key=lambda index: (-_quality(plan, index), by_price(facts, index))))
    good = [index for index in indices if _quality(plan, index) >= least]
    return tuple(sorted(good, key=lambda index: by_price(facts, index)))


def _quality(plan: Plan, index: int) -> float:
    quality = plan.routes[index].quality
    return float("-inf") if quality is None else quality
