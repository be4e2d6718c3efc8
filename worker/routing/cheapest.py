"""The policy ``cheapest``: by the likely price of this very request."""

from __future__ import annotations

from bucketline.catalog import Plan
from worker.routing.base import Facts, Order

__all__ = ["by_price", "order"]


def order(plan: Plan, facts: Facts, draw: float) -> Order:
    """The cheapest route first; those without a price last; the plan's order decides among equals."""
    return tuple(sorted(range(len(plan.routes)), key=lambda index: by_price(facts, index)))


def by_price(facts: Facts, index: int) -> tuple[bool, int]:
    """A sort key: known prices from low to high, then the unknown ones."""
    price = facts.routes[index].likely_nanousd
    return (price is None, price or 0)
