"""One line's life: route → permit → send → read → decide → outcome.

Comes in: a request of an open batch. Goes out: its outcome, once. While a line waits (for a permit, for a backoff, for
a closed route) it holds nothing but its own memory, and its clock stands still: a call's time begins when it is sent.
The rules are elsewhere and pure (``decide``, ``routing``, the adapters); this file only puts them in order. Called by
``shard``; the network is behind ``transport``, the fleet's limits behind ``limiter``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bucketline.catalog import Catalog, Plan, Route
from bucketline.failure import TABLE, Billed, Effect, Failure, Kind
from bucketline.outcome import Attempt, Cost, Outcome
from bucketline.prices import PriceBook
from bucketline.request import Request
from bucketline.settings import RetrySettings
from worker.control import OpenBatch
from worker.credentials import Credentials
from worker.decide import FallBack, Retry, Rules, Standing, WaitForRoute, decide
from worker.health import Health
from worker.likely import Likely
from worker.limiter import Demand, Gate, Permit
from worker.providers import adapter_for
from worker.providers.base import Answer
from worker.transport import Transport
from worker.turnstile import Turnstile

__all__ = ["Dispatcher", "Life", "failed_outcome"]


@dataclass(slots=True)
class Life:
    """Where one line stands. Changed only by its own dispatch."""

    request: Request
    attempts: list[Attempt] = field(default_factory=list)
    route: int = 0
    attempts_here: int = 0
    refusals_here: int = 0
    counted: int = 0  #: attempts that count against the budget, over all routes

    def next_route(self) -> None:
        self.route += 1
        self.attempts_here = self.refusals_here = 0


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Everything a line needs on its way; one for each process, put together in ``service``."""

    catalog: Catalog
    gate: Gate
    turnstile: Turnstile
    transport: Transport
    credentials: Credentials
    health: Health
    likely: Likely
    prices: PriceBook
    retry: RetrySettings
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, life: Life, batch: OpenBatch) -> Outcome:
        """See one line to its end."""
        plan = self.catalog.plan(life.request.model)
        rules = self._rules(plan, batch)
        while True:
            await batch.running.wait()
            route = plan.routes[life.route]
            result = await self._attempt(life, route, batch)
            if isinstance(result, Answer):
                return _answered(life, result)
            match decide(result, self._standing(life, plan, batch), rules, self.draw()):
                case Retry(after_s):
                    await self.sleep(after_s)
                case WaitForRoute():
                    await self.health.reopened(route.name)
                case FallBack():
                    life.next_route()
                case _:
                    return failed_outcome(life, result)

    async def _attempt(self, life: Life, route: Route, batch: OpenBatch) -> Answer | Failure:
        """One call on one route, with its permit; the attempt is on the line's record when this returns."""
        closed_by = self.health.reason(route.name)
        if closed_by is not None:
            return Failure(Kind(closed_by), TABLE[Kind(closed_by)].sentence)
        permit = await self._permit(life.request, route, batch)
        started_s, began = self.clock(), self.monotonic()
        try:
            result = await self._exchange(life.request, route)
        except asyncio.CancelledError:
            self.gate.settle(permit)
            self._note(life, route, started_s, began, Failure(batch.ended_by or Kind.INTERNAL, "", usage=None), True)
            raise
        finally:
            self._landed(batch)
        self._settle(permit, route, result)
        self._note(life, route, started_s, began, result)
        self._learn(life.request, route, result)
        return result

    async def _permit(self, request: Request, route: Route, batch: OpenBatch) -> Permit:
        """Wait for the fleet's permit, then for a place in this process; the line counts as in flight after that."""
        priority = batch.document.options.priority
        demand = self._demand(request, route)
        permit = await self.gate.admit(route.scopes, demand, batch_id=batch.id, priority=priority)
        try:
            await self.turnstile.enter(batch.id, priority)
        except asyncio.CancelledError:
            self.gate.release(permit)
            raise
        task = asyncio.current_task()
        assert task is not None
        batch.waiting.discard(task)
        batch.in_flight.add(task)
        return permit

    def _landed(self, batch: OpenBatch) -> None:
        self.turnstile.leave()
        task = asyncio.current_task()
        assert task is not None
        batch.in_flight.discard(task)
        batch.waiting.add(task)

    async def _exchange(self, request: Request, route: Route) -> Answer | Failure:
        """Write the call for this route anew, send it, understand what comes back."""
        adapter = adapter_for(route.provider.wire)
        key = await self.credentials.key(route.provider)
        call = adapter.call(request, route, key)
        call = await self.credentials.sign(call, route.provider)
        reply = await self.transport.send(call, route.provider, self.retry.request_timeout_s)
        if isinstance(reply, Failure):
            return reply
        self.gate.observe(route.scopes, reply.headers)
        return adapter.read(reply, request, route)

    def _settle(self, permit: Permit, route: Route, result: Answer | Failure) -> None:
        """Put the fact in the estimate's place, and tell the fleet what the provider said about its limits."""
        usage = result.usage
        if usage is not None:
            self.gate.settle(permit, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        elif isinstance(result, Failure) and result.row.billed is Billed.NO:
            self.gate.release(permit, sent=result.status is not None)
        else:
            self.gate.settle(permit)
        failure = result if isinstance(result, Failure) else None
        self.health.saw(route.name, failure)
        if failure is not None and failure.row.effect is Effect.PAUSE and failure.retry_after_s is not None:
            self.gate.pause(route.scopes[0][0], failure.retry_after_s, failure.kind)

    def _note(
        self, life: Life, route: Route, started_s: float, began: float, result: Answer | Failure, cut_off: bool = False
    ) -> None:
        failure = result if isinstance(result, Failure) else None
        billed = Billed.YES if failure is None else Billed.MAYBE if cut_off else failure.row.billed
        life.attempts.append(
            Attempt(
                provider=route.provider.name,
                model=route.model,
                kind="ok" if failure is None else failure.kind.value,
                status=result.status,
                started_s=started_s,
                latency_s=self.monotonic() - began,
                usage=result.usage,
                cost=self._cost(life.request, route, result, billed, started_s),
                billed=billed,
                request_id=result.request_id,
                served_model=result.served_model,
            )
        )
        if failure is None or failure.row.costs_attempt:
            life.attempts_here += 1
            life.counted += 1
        else:
            life.refusals_here += 1

    def _cost(self, request: Request, route: Route, result: Answer | Failure, billed: Billed, when_s: float) -> Cost:
        if result.usage is not None or billed is Billed.YES:
            answer = result if isinstance(result, Answer) else None
            return self.prices.cost(
                route,
                served_model=result.served_model,
                usage=result.usage,
                when_s=when_s,
                tier=(answer and answer.tier) or "standard",
                reported_nanousd=answer.reported_nanousd if answer else None,
            )
        if billed is Billed.NO:
            return Cost()
        demand = self._demand(request, route)
        return self.prices.maybe_cost(
            route, input_tokens=demand.input_tokens, output_tokens=demand.output_tokens, when_s=when_s
        )

    def _demand(self, request: Request, route: Route) -> Demand:
        return self.likely.demand(request, route)

    def _learn(self, request: Request, route: Route, result: Answer | Failure) -> None:
        if result.usage is not None:
            self.likely.learn(request, route, result.usage)

    def _standing(self, life: Life, plan: Plan, batch: OpenBatch) -> Standing:
        deadline_s = batch.document.deadline_s
        return Standing(
            attempts_here=life.attempts_here,
            attempts_total=life.counted,
            refusals_here=life.refusals_here,
            routes_left=len(plan.routes) - 1 - life.route,
            time_left_s=None if deadline_s is None else deadline_s - self.clock(),
        )

    def _rules(self, plan: Plan, batch: OpenBatch) -> Rules:
        retry = self.retry
        on_quota = batch.document.options.on_quota or retry.on_quota
        return Rules(
            max_attempts=retry.max_attempts,
            max_attempts_total=retry.max_attempts_total,
            base_delay_s=retry.base_delay_s,
            max_delay_s=retry.max_delay_s,
            fall_back_on_filter=plan.fall_back_on_filter,
            wait_for_quota=on_quota == "wait",
        )


def _answered(life: Life, answer: Answer) -> Outcome:
    request = life.request
    return Outcome(
        line=request.line,
        custom_id=request.custom_id,
        requested_model=request.model,
        code=None,
        message=None,
        attempts=tuple(life.attempts),
        status=answer.status,
        request_id=answer.request_id,
        body=answer.body,
        finish_reason=answer.finish_reason,
        served_model=answer.served_model,
        usage=answer.usage,
        raw=answer.raw,
    )


def failed_outcome(life: Life, failure: Failure) -> Outcome:
    """The outcome of a line that ends with ``failure``; its body is the provider's last word where there was one."""
    request = life.request
    return Outcome(
        line=request.line,
        custom_id=request.custom_id,
        requested_model=request.model,
        code=failure.row.code,
        message=failure.message or failure.row.sentence,
        attempts=tuple(life.attempts),
        status=failure.status,
        request_id=failure.request_id,
        body=failure.body,
        finish_reason=failure.finish_reason,
        served_model=failure.served_model,
        usage=failure.usage,
    )
