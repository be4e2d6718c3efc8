"""After a failed call: try again, go elsewhere, or give up.

Comes in: the failure's row, and where the line stands (attempts, routes left, time left). Goes out: one decision.
Pure: clock and dice arrive as arguments, so every path can be tested, and the dispatcher holds no rule of its own.

Order of rules: the same route while its row allows, and the attempts and the time last; then the next route; then the
end of the line. One budget of attempts holds for the whole plan, and a share of it for each route.
"""

from __future__ import annotations

from dataclasses import dataclass

from bucketline.failure import Billed, Failure, Kind, Wait
from bucketline.value import value
from worker.backoff import backoff_s, told_s

__all__ = [
    "Decision",
    "FallBack",
    "GiveUp",
    "Retry",
    "Rules",
    "Standing",
    "WaitForRoute",
    "attempt_timeout_s",
    "decide",
]

_LEAST_S = 5.0  #: an attempt gets at least this, if so much is left at all


@value
class Rules:
    """The configured part of the decision; the same for all lines of a plan."""

    max_attempts: int = 4  #: on one route
    max_attempts_total: int | None = None  #: over all routes; None: what the routes allow
    base_delay_s: float = 0.5
    max_delay_s: float = 30.0
    fall_back_on_filter: bool = False
    wait_for_quota: bool = True
    spill_after_s: float | None = None  #: a longer wait than this goes elsewhere; None: only near the deadline


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a line stands: attempts that count, refusals that do not, routes not yet tried, seconds to the deadline."""

    attempts_here: int
    attempts_total: int
    refusals_here: int
    routes_left: int  #: beside the present one
    time_left_s: float | None = None
    repeats_safely: bool = True  #: false for long reasoning calls, which may have been billed when they break off
    hopeless: bool = False  #: the route has been down for very long, and this line has failed often enough in that time


@dataclass(frozen=True, slots=True)
class Retry:
    """The same route again, after a wait that holds nothing."""

    after_s: float


@dataclass(frozen=True, slots=True)
class WaitForRoute:
    """The same route again, once an operator or a re-check has opened it, or its day has begun anew."""


@dataclass(frozen=True, slots=True)
class FallBack:
    """The next route of the plan, at once. ``for_s``: how long the present one is passed over; None for good."""

    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The line ends with this failure."""


Decision = Retry | WaitForRoute | FallBack | GiveUp


def decide(failure: Failure, standing: Standing, rules: Rules, draw: float) -> Decision:
    """What to do after ``failure``; ``draw`` is uniform in [0, 1). ``standing`` counts the failed call already."""
    row = failure.row
    if row.wait in (Wait.OPERATOR, Wait.DAY):
        return _closed(failure, standing, rules)
    after_s = _wait_s(failure, standing, rules, draw)
    again = _may_retry(failure, standing, rules)
    elsewhere = standing.routes_left > 0 and _may_fall_back(failure, rules) and _attempts_left(standing, rules)
    if again and elsewhere and _too_long(after_s, standing, rules):
        return FallBack(after_s)
    if again:
        return Retry(after_s)
    return FallBack() if elsewhere else GiveUp()


def attempt_timeout_s(request_timeout_s: float, time_left_s: float | None, routes_left: int) -> float:
    """How long one call may take: its share of what is left of the window, lest a hanging route takes the next one's.

    >>> attempt_timeout_s(600, 60, 1)
    30.0
    >>> attempt_timeout_s(600, None, 1)
    600
    """
    if time_left_s is None:
        return request_timeout_s
    share_s = max(time_left_s / (routes_left + 1), min(time_left_s, _LEAST_S))
    return max(0.001, min(request_timeout_s, share_s))


def _closed(failure: Failure, standing: Standing, rules: Rules) -> Decision:
    """The route is closed to everyone by now; the line may come back to it once it is open again."""
    if standing.routes_left > 0:
        return FallBack(0.0)
    if failure.row.wait is Wait.OPERATOR and not rules.wait_for_quota:
        return GiveUp()
    return WaitForRoute()


def _wait_s(failure: Failure, standing: Standing, rules: Rules, draw: float) -> float:
    """The backoff over a floor: what the provider told, which may exceed our cap, else the row's least."""
    row = failure.row
    failures = standing.attempts_here if row.costs_attempt else standing.refusals_here
    floor_s = min(row.min_wait_s, rules.max_delay_s)
    if failure.retry_after_s is not None and row.wait is Wait.TOLD:
        floor_s = failure.retry_after_s
    return max(told_s(floor_s, draw), backoff_s(max(1, failures), rules.base_delay_s, rules.max_delay_s, draw))


def _too_long(after_s: float, standing: Standing, rules: Rules) -> bool:
    """Whether the wait would outlast the deadline, or the plan's patience."""
    if standing.time_left_s is not None and after_s >= standing.time_left_s:
        return True
    return rules.spill_after_s is not None and after_s > rules.spill_after_s


def _may_retry(failure: Failure, standing: Standing, rules: Rules) -> bool:
    row = failure.row
    if not row.retry or row.wait is Wait.NONE or standing.hopeless:
        return False
    if row.costs_attempt and (standing.attempts_here >= rules.max_attempts or not _attempts_left(standing, rules)):
        return False
    return standing.repeats_safely or row.billed is not Billed.MAYBE


def _attempts_left(standing: Standing, rules: Rules) -> bool:
    return rules.max_attempts_total is None or standing.attempts_total < rules.max_attempts_total


def _may_fall_back(failure: Failure, rules: Rules) -> bool:
    if failure.kind in (Kind.CONTENT_FILTER, Kind.REFUSAL):
        return rules.fall_back_on_filter
    return failure.row.fall_back
