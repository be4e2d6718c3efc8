"""After a failed call: try again, go elsewhere, or give up.

Comes in: the failure's row, and where the line stands (attempts, routes left, time left). Goes out: one decision.
Pure: clock and dice arrive as arguments, so every path can be tested, and the dispatcher holds no rule of its own.

Order of rules: the batch's end before all; then the same route while its row allows and the attempts and the time
last; then the next route; then the end of the line.
"""

from __future__ import annotations

from dataclasses import dataclass

from bucketline.failure import Failure, Kind, Wait
from worker.backoff import backoff_s, told_s

__all__ = ["Decision", "FallBack", "GiveUp", "Retry", "Rules", "Standing", "WaitForRoute", "decide"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The configured part of the decision; the same for all lines of a plan."""

    max_attempts: int = 4
    max_attempts_total: int | None = None
    base_delay_s: float = 0.5
    max_delay_s: float = 30.0
    fall_back_on_filter: bool = False
    wait_for_quota: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a line stands: attempts that count, refusals that do not, routes not yet tried, seconds to the deadline."""

    attempts_here: int
    attempts_total: int
    refusals_here: int
    routes_left: int
    time_left_s: float | None = None
    repeats_safely: bool = True  #: false for long reasoning calls that may have been billed


@dataclass(frozen=True, slots=True)
class Retry:
    """The same route again, after a wait that holds nothing."""

    after_s: float


@dataclass(frozen=True, slots=True)
class WaitForRoute:
    """The same route again, once an operator or a re-check has opened it, or its day has begun anew."""


@dataclass(frozen=True, slots=True)
class FallBack:
    """The next route of the plan, at once."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The line ends with this failure."""


Decision = Retry | WaitForRoute | FallBack | GiveUp


def decide(failure: Failure, standing: Standing, rules: Rules, draw: float) -> Decision:
    """What to do after ``failure``; ``draw`` is uniform in [0, 1). ``standing`` counts the failed call already."""
    if _may_retry(failure, standing, rules):
        again = _again(failure, standing, rules, draw)
        if again is not None:
            return again
    if standing.routes_left > 0 and _may_fall_back(failure, rules) and _attempts_left(standing, rules):
        return FallBack()
    if failure.row.wait is Wait.OPERATOR and rules.wait_for_quota:
        return WaitForRoute()
    return GiveUp()


def _may_retry(failure: Failure, standing: Standing, rules: Rules) -> bool:
    row = failure.row
    if not row.retry or row.wait in (Wait.OPERATOR, Wait.NONE):
        return False
    if row.costs_attempt and (standing.attempts_here >= rules.max_attempts or not _attempts_left(standing, rules)):
        return False
    return standing.repeats_safely or failure.kind is not Kind.TIMEOUT_AFTER_SEND


def _again(failure: Failure, standing: Standing, rules: Rules, draw: float) -> Decision | None:
    """The retry, or None when its wait would outlast the deadline and another route could still answer."""
    row = failure.row
    if row.wait is Wait.DAY:
        return None if standing.routes_left else WaitForRoute()
    failures = standing.attempts_here if row.costs_attempt else standing.refusals_here
    after_s = max(row.min_wait_s, backoff_s(max(1, failures), rules.base_delay_s, rules.max_delay_s, draw))
    if failure.retry_after_s is not None and row.wait is Wait.TOLD:
        after_s = max(after_s, told_s(failure.retry_after_s, draw))
    if standing.time_left_s is not None and after_s >= standing.time_left_s and standing.routes_left > 0:
        return None
    return Retry(after_s)


def _attempts_left(standing: Standing, rules: Rules) -> bool:
    return rules.max_attempts_total is None or standing.attempts_total < rules.max_attempts_total


def _may_fall_back(failure: Failure, rules: Rules) -> bool:
    if failure.kind in (Kind.CONTENT_FILTER, Kind.REFUSAL):
        return rules.fall_back_on_filter
    return failure.row.fall_back
