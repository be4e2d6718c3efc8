"""What is known of one line on its way: its attempts, its routes, and at the end its outcome.

Comes in: the request, then each call's result as it happens. Goes out: the standing that ``decide`` judges by, and the
outcome. Changed only by the line's own dispatch; knows no clock and no network.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bucketline.catalog import Plan
from bucketline.failure import Failure
from bucketline.outcome import Attempt, Outcome
from bucketline.request import Request
from worker.decide import Standing
from worker.providers.base import Answer

__all__ = ["Life"]


@dataclass(slots=True)
class Life:
    """Where one line stands."""

    request: Request
    attempts: list[Attempt] = field(default_factory=list)
    route: int = 0  #: the route of the plan that it is on
    tried: frozenset[int] = frozenset()  #: routes that it has left for good
    attempts_here: int = 0
    refusals_here: int = 0
    counted: int = 0  #: attempts that count against the budget, over all routes

    def enter_route(self, index: int) -> None:
        """Go on with a route; another one than before starts its own count."""
        if index != self.route:
            self.route = index
            self.attempts_here = self.refusals_here = 0

    def leave_route(self) -> None:
        self.tried |= {self.route}

    def note(self, attempt: Attempt, failure: Failure | None, *, is_probe: bool = False) -> None:
        """Put a call on the record. A probe of a broken route was ours, not the line's: its failure costs nothing."""
        self.attempts.append(attempt)
        if is_probe and failure is not None:
            return
        if failure is None or failure.row.costs_attempt:
            self.attempts_here += 1
            self.counted += 1
        else:
            self.refusals_here += 1

    def standing(self, plan: Plan, time_left_s: float | None, *, repeats_safely: bool) -> Standing:
        """What ``decide`` needs to know."""
        return Standing(
            attempts_here=self.attempts_here,
            attempts_total=self.counted,
            refusals_here=self.refusals_here,
            routes_left=len(plan.routes) - 1 - len(self.tried - {self.route}),
            time_left_s=time_left_s,
            repeats_safely=repeats_safely,
        )

    def answered(self, answer: Answer) -> Outcome:
        request = self.request
        return Outcome(
            line=request.line,
            custom_id=request.custom_id,
            requested_model=request.model,
            code=None,
            message=None,
            attempts=tuple(self.attempts),
            status=answer.status,
            request_id=answer.request_id,
            body=answer.body,
            finish_reason=answer.finish_reason,
            served_model=answer.served_model,
            usage=answer.usage,
            raw=answer.raw,
        )

    def failed(self, failure: Failure) -> Outcome:
        """The line ends with ``failure``; its body is the provider's last word where there was one."""
        request = self.request
        return Outcome(
            line=request.line,
            custom_id=request.custom_id,
            requested_model=request.model,
            code=failure.row.code,
            message=failure.message or failure.row.sentence,
            attempts=tuple(self.attempts),
            status=failure.status,
            request_id=failure.request_id,
            body=failure.body,
            finish_reason=failure.finish_reason,
            served_model=failure.served_model,
            usage=failure.usage,
        )
