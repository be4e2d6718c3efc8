"""What is known of one line on its way: its attempts, its routes, and at the end its outcome.

Comes in: the request, the order of its routes, then each call's result as it happens. Goes out: the standing that
``decide`` judges by, and the outcome. Changed only by the line's own dispatch; knows no clock and no network.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bucketline.catalog import Plan
from bucketline.failure import Failure
from bucketline.outcome import Attempt, Outcome
from bucketline.request import Request
from worker.decide import Standing
from worker.providers.base import Answer

__all__ = ["Life"]


@dataclass(slots=True)
class _Stay:
    """What happened on one route. It is kept when the line goes elsewhere: coming back is no new beginning."""

    attempts: int = 0
    refusals: int = 0  #: calls that cost no attempt
    probes: int = 0  #: failed calls that tried a broken route out for everyone


@dataclass(slots=True)
class Life:
    """Where one line stands. ``request`` is what is sent: a repair or a larger cap may have replaced it."""

    request: Request
    base: Request = field(init=False)  #: what repairs are added to
    attempts: list[Attempt] = field(default_factory=list)
    order: Sequence[int] = ()  #: the routes that it may take, the first first
    route: int = 0  #: the route of the plan that it is on
    counted: int = 0  #: attempts that count against the budget, over all routes
    marks: dict[str, Any] = field(default_factory=dict)  #: further members of the line's ``bucketline`` block
    spare: Answer | None = None  #: a truncated answer, should nothing better come
    raised: bool = False  #: its output cap was raised once
    overtaken: Callable[[], Awaitable[bool]] | None = (
        None  #: asked just before a call: whether another worker has its outcome
    )
    _left: set[int] = field(default_factory=set)  #: routes that it has left for good
    _not_before_s: dict[int, float] = field(default_factory=dict)  #: route → monotonic time
    _stays: dict[int, _Stay] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base = self.request

    @property
    def here(self) -> _Stay:
        """What happened on the present route."""
        stay = self._stays.get(self.route)
        if stay is None:
            stay = self._stays[self.route] = _Stay()
        return stay

    def enter_route(self, index: int) -> None:
        self.route = index

    def candidates(self, now_s: float) -> Sequence[int]:
        """The routes that it may take now, in order; none where all that are left are passed over for a while."""
        if not self._left and not self._not_before_s:
            return self.order
        return [n for n in self.order if n not in self._left and self._not_before_s.get(n, 0.0) <= now_s]

    def ready_in_s(self, now_s: float) -> float | None:
        """How long until a route that is passed over may be taken again; None when there is none."""
        if not self._not_before_s:
            return None
        waits = [at_s - now_s for n, at_s in self._not_before_s.items() if n not in self._left and at_s > now_s]
        return min(waits, default=None)

    def leave_route(self, not_before_s: float | None) -> None:
        """Go elsewhere: for good, or until a monotonic time."""
        if not_before_s is None:
            self._left.add(self.route)
        else:
            self._not_before_s[self.route] = not_before_s

    def leave_smaller(self, plan: Plan, likely_tokens: int) -> None:
        """The prompt did not fit: leave every route that surely holds no more than the present one."""
        small = plan.routes[self.route]
        for index in self.order:
            route = plan.routes[index]
            most = route.context_tokens
            no_more = most is not None and most <= max(small.context_tokens or 0, likely_tokens)
            if index == self.route or no_more or route.name == small.name:
                self._left.add(index)

    def note(self, attempt: Attempt, failure: Failure | None, *, is_probe: bool = False) -> None:
        """Put a call on the record. A probe of a broken route was ours, not the line's: its failure costs nothing."""
        self.attempts.append(attempt)
        if failure is not None and is_probe and failure.row.hurts_health:
            self.here.probes += 1
        elif failure is None or failure.row.costs_attempt:
            self.here.attempts += 1
            self.counted += 1
        else:
            self.here.refusals += 1

    @property
    def routes_left(self) -> int:
        """Routes that it has not left for good, beside the present one."""
        return len([n for n in self.order if n != self.route and n not in self._left])

    def standing(
        self, time_left_s: float | None, *, repeats_safely: bool = True, hopeless_from: int | None = None
    ) -> Standing:
        """What ``decide`` needs to know. ``hopeless_from``: so many failures here are enough, the route being down."""
        here = self.here
        return Standing(
            attempts_here=here.attempts,
            attempts_total=self.counted,
            refusals_here=here.refusals + here.probes,
            routes_left=self.routes_left,
            time_left_s=time_left_s,
            repeats_safely=repeats_safely,
            hopeless=hopeless_from is not None and here.attempts + here.probes >= hopeless_from,
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
            extra=self.marks or None,
        )

    def failed(self, failure: Failure) -> Outcome:
        """The line ends with ``failure``, or with the truncated answer it had before; a body is the provider's last."""
        if self.spare is not None:
            return self.answered(self.spare)
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
            extra=self.marks or None,
        )
