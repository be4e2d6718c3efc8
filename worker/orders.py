"""Which routes a line may take, and in which order.

Comes in: a line, its plan and its batch's options. Goes out: indices into the plan, by the plan's policy. What a policy
wants to know is looked up here: the price of this request, what was measured, whether this machine holds the key.
Called by ``dispatch`` once a line; a plan of one route, or in its own order, costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bucketline.batch import BatchOptions
from bucketline.catalog import Plan, Provider, Route
from bucketline.prices import PriceBook
from bucketline.request import Request
from worker.credentials import Credentials
from worker.limiter.likely import Likely
from worker.measured import Measurements
from worker.routing import POLICIES, Facts

__all__ = ["Orders"]

_KEY_GOOD_S = 10.0  #: whether a key is there is looked up anew after this


@dataclass(slots=True)
class Orders:
    """The orders of one process's lines."""

    measured: Measurements
    prices: PriceBook
    likely: Likely
    credentials: Credentials
    monotonic: Callable[[], float] = time.monotonic
    _keys: dict[str, tuple[bool, float]] = field(default_factory=dict)

    def order(self, request: Request, plan: Plan, options: BatchOptions, draw: float) -> tuple[int, ...]:
        """The routes of the plan for one line, the first first; empty where none reaches the least quality."""
        if len(plan.routes) == 1 and plan.policy != "best":
            return (0,)
        if plan.policy == "ordered":
            order = tuple(range(len(plan.routes)))
        else:
            known = tuple(self.measured.facts(route, self.likely_nanousd(request, route)) for route in plan.routes)
            order = POLICIES[plan.policy](plan, Facts(known, options.min_quality), draw)
        # A route whose key this machine does not hold is no way out, unless there is no other.
        return tuple(index for index in order if self._has_key(plan.routes[index].provider)) or order

    def likely_nanousd(self, request: Request, route: Route) -> int | None:
        """What the request will likely cost on a route; None without a price."""
        demand = self.likely.demand(request, route)
        return self.prices.likely_nanousd(route, demand.input_tokens, demand.output_tokens)

    def _has_key(self, provider: Provider) -> bool:
        found, until_s = self._keys.get(provider.name, (False, 0.0))
        now_s = self.monotonic()
        if now_s >= until_s:
            found = self.credentials.check(provider) is None
            self._keys[provider.name] = (found, now_s + _KEY_GOOD_S)
        return found
