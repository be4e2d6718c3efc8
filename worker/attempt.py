"""One attempt: the call written, sent, read, checked, paid for and put on the record.

Comes in: a line, the route it may take and the fleet's permit. Goes out: the answer, or the failure with all that is known
of its cost. The permit is given back with the fact, the route's health and measurements hear of it, and the line's log has
it, also where the call is cut off in the middle. Called by ``dispatch``; what follows from the result is ``decide``'s.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bucketline.catalog import Route
from bucketline.declared import declared_cap_tokens, declared_choices
from bucketline.errors import ConfigError
from bucketline.failure import Billed, Failure, Kind
from bucketline.outcome import Attempt, Cost, request_row_id
from bucketline.prices import PriceBook
from bucketline.settings import RetrySettings
from bucketline.value import value
from worker.backoff import backoff_s
from worker.checked import Checker
from worker.control import OpenBatch
from worker.credentials import Credentials
from worker.health import Health, Pass
from worker.life import Life
from worker.limiter import Demand, Gate, Permit
from worker.limiter.likely import Likely
from worker.limiter.ratelimits import whose
from worker.measured import Measurements
from worker.providers import adapter_for
from worker.providers.base import Answer, Call
from worker.providers.idempotency import known_again
from worker.revise import repaired
from worker.sight import Sight
from worker.transport import Transport

__all__ = ["Caller", "Leave", "Result"]

Result = Answer | Failure


@value
class Leave:
    """All that a call needs to leave: a usable route and the fleet's permit."""

    given: Pass
    demand: Demand
    permit: Permit


@dataclass(slots=True)
class _Refused:
    """A run of refusals for speed at one scope."""

    count: int = 0
    until_s: float = 0.0  #: monotonic


@dataclass(frozen=True, slots=True)
class Caller:
    """Everything a call needs; one for each process."""

    gate: Gate
    transport: Transport
    credentials: Credentials
    health: Health
    likely: Likely
    measured: Measurements
    prices: PriceBook
    retry: RetrySettings
    checker: Checker = field(default_factory=Checker)
    sight: Sight = field(default_factory=Sight)
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    _refused: dict[str, _Refused] = field(default_factory=dict)

    async def call(self, life: Life, leave: Leave, batch: OpenBatch, share_s: Callable[[float], float]) -> Result:
        """Make one call. The permit is back, and what is known is recorded, when this returns or raises.

        ``share_s`` bounds the longest life of a call by the time that is left.
        """
        given, route = leave.given, leave.given.route
        try:
            written = await self._written(life, route, batch.id)
        except BaseException:
            self.gate.release(leave.permit)
            self.health.lost(given)
            raise
        if isinstance(written, Failure):
            self.gate.release(leave.permit)
            self.health.saw(given, written, blame=written.kind is Kind.BAD_KEY)
            return written
        longest_s = self.retry.call_s(stream=written.stream)
        timeout_s = share_s(longest_s)
        started_s, began_s = self.clock(), self.monotonic()
        try:
            result = await self._exchange(life, route, written, timeout_s, batch)
        except BaseException as error:
            ended_by = batch.ended_by if isinstance(error, asyncio.CancelledError) else None
            self._cut_off(life, leave, ended_by or Kind.INTERNAL, started_s, self.monotonic() - began_s)
            raise
        latency_s = self.monotonic() - began_s
        cost = self._cost(life, route, result, leave.demand, started_s)
        failure = self._failure(life, result, batch)
        self._settle(leave.permit, route, result, failure, cost)
        self._learn(life, leave, result, failure, latency_s, cut_short=timeout_s < longest_s)
        attempt = _attempt(route, failure or result, cost, started_s, latency_s, _billed(failure))
        life.note(attempt, failure, is_probe=bool(given.probes))
        self.sight.call(attempt)
        return failure or result

    async def _written(self, life: Life, route: Route, batch_id: str) -> Call | Failure:
        """The call for this route, written anew from the line, with this route's own key and an id of its own."""
        provider = route.provider
        row_id = request_row_id(batch_id, life.request.line)
        own_id = f"{row_id}_{len(life.attempts) + 1}"
        try:
            key = self.credentials.at_hand(provider)
            if key is None:
                key = await self.credentials.key(provider)
            call = adapter_for(provider.wire).call(life.request, route, key, request_id=own_id)
            if isinstance(call, Failure):
                return call
            if provider.idempotency_header:
                answered = sum(attempt.status is not None for attempt in life.attempts)
                call = known_again(call, provider.idempotency_header, f"{row_id}_{answered}")
            return await self.credentials.sign(call, provider) if provider.wire == "bedrock" else call
        except ConfigError as error:
            return Failure(Kind.BAD_KEY, str(error))

    async def _exchange(self, life: Life, route: Route, call: Call, timeout_s: float, batch: OpenBatch) -> Result:
        provider = route.provider
        reply = await self.transport.send(call, provider, timeout_s)
        if isinstance(reply, Failure):
            return reply
        self.gate.observe(route.scopes, reply.headers)
        key = self.credentials.at_hand(provider)
        if key is None:
            key = await self.credentials.key(provider)
        result = adapter_for(provider.wire).read(reply, life.request, route, key=key)
        if isinstance(result, Answer) and result.raw is not None and not batch.document.options.raw:
            return replace(result, raw=None)  # nobody asked for it, and it is as large as the answer
        return result

    def _failure(self, life: Life, result: Result, batch: OpenBatch) -> Failure | None:
        """What is wrong with the result; an answer that breaks its schema is told so next time, where asked for."""
        if isinstance(result, Failure):
            return result
        verdict = self.checker.check(life.request, result)
        if verdict is None:
            return None
        if batch.document.options.repair:
            again = repaired(life.base, result.body, verdict.told)
            if again is not None:
                life.request = again
                life.marks["repaired"] = True
        return verdict.failure

    def _settle(self, permit: Permit, route: Route, result: Result, failure: Failure | None, cost: Cost) -> None:
        """Put the fact in the estimate's place, and tell the fleet what the provider said about its limits.

        A call that may have been billed keeps its whole reservation, also in the batch's budget.
        """
        usage = result.usage
        if usage is not None:
            self.gate.settle(
                permit, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, nanousd=cost.nanousd
            )
        elif failure is not None and failure.row.billed is Billed.NO:
            self.gate.release(permit, sent=failure.status is not None)
        else:
            self.gate.settle(permit)
        if failure is None:
            for name, _ in route.scopes:
                self._refused.pop(name, None)
        elif failure.kind is Kind.RATE_LIMIT:
            scope, _ = route.scopes[whose(route.scopes, failure.scope)]
            self.gate.pause(scope, self._pause_s(scope, failure), failure.kind.value)

    def _pause_s(self, scope: str, failure: Failure) -> float:
        """How long nobody calls: as told, else a backoff that grows with each refusal that follows a pause."""
        if failure.retry_after_s is not None:
            return failure.retry_after_s
        run, now_s = self._refused.setdefault(scope, _Refused()), self.monotonic()
        if now_s >= run.until_s:
            run.count += 1
            least_s = min(failure.row.min_wait_s, self.retry.max_delay_s)
            after_s = backoff_s(run.count, self.retry.base_delay_s, self.retry.max_delay_s, self.draw())
            run.until_s = now_s + max(least_s, after_s)
        return max(0.0, run.until_s - now_s)

    def _learn(
        self, life: Life, leave: Leave, result: Result, failure: Failure | None, latency_s: float, *, cut_short: bool
    ) -> None:
        """Let the route's health, the measurements and the estimates hear of it."""
        given = leave.given
        blame = not (cut_short and failure is not None and failure.kind is Kind.TIMEOUT_AFTER_SEND)
        self.health.saw(given, failure, blame=blame)
        if blame:
            self.measured.note(given.route, latency_s, result.usage, failure)
        if failure is not None and failure.kind in (Kind.TOKEN_EXPIRED, Kind.BAD_KEY):
            self.credentials.forget(given.route.provider)
        if result.usage is not None:
            self.likely.learn(life.request, given.route, result.usage)

    def _cut_off(self, life: Life, leave: Leave, kind: Kind, started_s: float, latency_s: float) -> None:
        """The call was ended in flight: the provider may have done the work all the same."""
        self.gate.settle(leave.permit)
        self.health.lost(leave.given)
        failure, route = Failure(kind, ""), leave.given.route
        cost = self._maybe_cost(life, route, leave.demand, started_s)
        attempt = _attempt(route, failure, cost, started_s, latency_s, Billed.MAYBE)
        life.note(attempt, failure)
        self.sight.call(attempt)

    def _cost(self, life: Life, route: Route, result: Result, demand: Demand, when_s: float) -> Cost:
        answer = result if isinstance(result, Answer) else None
        if result.usage is None and isinstance(result, Failure):
            if result.row.billed is Billed.NO:
                return Cost()
            if result.row.billed is Billed.MAYBE:
                return self._maybe_cost(life, route, demand, when_s)
        return self.prices.cost(
            route,
            served_model=result.served_model,
            usage=result.usage,
            when_s=when_s,
            tier=(answer and answer.tier) or "standard",
            reported_nanousd=answer.reported_nanousd if answer else None,
        )

    def _maybe_cost(self, life: Life, route: Route, demand: Demand, when_s: float) -> Cost:
        """Nothing, or up to what the line's own cap allows; without a cap, what is likely."""
        params = {**life.request.params, **route.set}
        cap = (declared_cap_tokens(params) or 0) * declared_choices(params)
        most = max(cap, demand.output_tokens)
        return self.prices.maybe_cost(route, input_tokens=demand.input_tokens, output_tokens=most, when_s=when_s)


def _billed(failure: Failure | None) -> Billed:
    if failure is None or failure.usage is not None:
        return Billed.YES
    return failure.row.billed


def _attempt(route: Route, result: Result, cost: Cost, started_s: float, latency_s: float, billed: Billed) -> Attempt:
    return Attempt(
        provider=route.provider.name,
        model=route.model,
        kind="ok" if isinstance(result, Answer) else result.kind.value,
        status=result.status,
        started_s=started_s,
        latency_s=latency_s,
        usage=result.usage,
        cost=cost,
        billed=billed,
        request_id=result.request_id,
        served_model=result.served_model,
    )
