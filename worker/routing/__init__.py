"""Routing policies, by the name that a plan gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from worker.routing import best, cheapest, fastest, ordered, weighted
from worker.routing.base import Facts, Order, Policy, RouteFacts

__all__ = ["POLICIES", "Facts", "Order", "Policy", "RouteFacts"]

#: ``policy`` of a plan → its function
POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "ordered": ordered.order,
        "cheapest": cheapest.order,
        "fastest": fastest.order,
        "weighted": weighted.order,
        "best": best.order,
    }
)
