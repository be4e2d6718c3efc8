"""The policy ``fastest``: by the measured time to an answer.

A route that fails half of its calls takes twice its latency to an answer, so the latency is divided by the share of
calls that succeed. Measurements go stale where nobody looks: a small share of lines tries another route first
(epsilon-greedy; Sutton and Barto, "Reinforcement Learning", 2.2), which also finds out about routes never measured.
"""

from __future__ import annotations

from bucketline.catalog import Plan
from worker.routing.base import Facts, Order, RouteFacts

__all__ = ["EXPLORE", "order"]

EXPLORE = 0.03  #: share of lines that go first to a route that is not the fastest
_LEAST_SUCCESS = 0.02


def order(plan: Plan, facts: Facts, draw: float) -> Order:
    """The fastest route first; those never measured last, in the plan's order."""
    ranked = sorted(range(len(plan.routes)), key=lambda index: _time(facts.routes[index]))
    if draw < EXPLORE and len(ranked) > 1:
        other = 1 + min(len(ranked) - 2, int(draw / EXPLORE * (len(ranked) - 1)))
        ranked.insert(0, ranked.pop(other))
    return tuple(ranked)


def _time(route: RouteFacts) -> tuple[bool, float]:
    """A sort key: seconds to an answer, failed calls included; the unmeasured after all others."""
    if route.latency_s is None:
        return (True, 0.0)
    success = 1.0 if route.success is None else route.success
    return (False, route.latency_s / max(success, _LEAST_SUCCESS))
