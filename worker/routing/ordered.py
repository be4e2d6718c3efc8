"""The policy ``ordered``: the plan as it was written."""

from __future__ import annotations

from bucketline.catalog import Plan
from worker.routing.base import Facts, Order

__all__ = ["order"]


def order(plan: Plan, facts: Facts, draw: float) -> Order:
    """The routes as they stand in the configuration."""
    return tuple(range(len(plan.routes)))
