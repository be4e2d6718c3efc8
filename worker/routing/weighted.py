"""The policy ``weighted``: each route first for its share of the lines."""

from __future__ import annotations

from bucketline.catalog import Plan
from worker.routing.base import Facts, Order

__all__ = ["order"]


def order(plan: Plan, facts: Facts, draw: float) -> Order:
    """A random order in which a route is first as often as its weight says; weight 0 is a fallback only.

    One draw is enough: what a choice leaves of it is uniform again, and chooses the next.
    """
    left = [index for index, route in enumerate(plan.routes) if route.weight > 0]
    chosen: list[int] = []
    while left:
        weights = [plan.routes[index].weight for index in left]
        position, draw = _pick(weights, draw)
        chosen.append(left.pop(position))
    return (*chosen, *(index for index, route in enumerate(plan.routes) if route.weight <= 0))


def _pick(weights: list[float], draw: float) -> tuple[int, float]:
    """Which of the weights the draw falls upon, and what is left of the draw, stretched to [0, 1) again."""
    point = draw * sum(weights)
    for position, weight in enumerate(weights):
        if point < weight:
            return position, point / weight
        point -= weight
    return len(weights) - 1, 0.0
