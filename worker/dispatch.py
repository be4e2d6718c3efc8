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
from dataclasses import dataclass

from bucketline.catalog import Catalog, Plan, Route
from bucketline.errors import ConfigError
from bucketline.failure import TABLE, Billed, Effect, Failure, Kind
from bucketline.outcome import Attempt, Cost, Outcome
from bucketline.prices import PriceBook
from bucketline.request import Request
from bucketline.settings import RetrySettings
from worker.control import OpenBatch
from worker.credentials import Credentials
from worker.decide import FallBack, Retry, Rules, Standing, WaitForRoute, decide
from worker.health import Health, Pass
from worker.life import Life
from worker.likely import Likely
from worker.limiter import Demand, Gate, Permit
from worker.providers import adapter_for
from worker.providers.base import Answer
from worker.transport import Transport
from worker.turnstile import Turnstile

__all__ = ["Dispatcher"]

Result = Answer | Failure


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Everything a line needs on its way; one for each process, put together in ``engine``."""

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
            result = await self._attempt(life, plan, rules, batch)
            if result is None:
                continue
            if isinstance(result, Answer):
                return life.answered(result)
            match decide(result, self._standing(life, plan, batch), rules, self.draw()):
                case Retry(after_s):
                    await self.sleep(after_s)
                case WaitForRoute():
                    pass  # its circuit is open: the next round waits for it
                case FallBack():
                    life.leave_route()
                case _:
                    return life.failed(result)

    async def _attempt(self, life: Life, plan: Plan, rules: Rules, batch: OpenBatch) -> Result | None:
        """One call on the first usable route; None when the route closed while the line waited for its permit."""
        given = await self._route(life, plan, rules)
        if isinstance(given, Failure):
            return given
        life.enter_route(given.index)
        route = given.route
        demand = self.likely.demand(life.request, route)
        permit = await self._permit(route, demand, batch)
        try:
            if self.health.is_closed(given) or not batch.running.is_set():
                self.gate.release(permit)
                return None
            return await self._call(life, given, demand, permit, batch)
        finally:
            self._landed(batch)

    async def _route(self, life: Life, plan: Plan, rules: Rules) -> Pass | Failure:
        """The first usable route of the plan. A plan all of whose routes are closed waits, where the batch does."""
        given = self.health.take(plan.routes, life.tried)
        if given is not None:
            return given
        kind = None if rules.wait_for_quota else self.health.closed_for_good(plan.routes, life.tried)
        if kind is not None:
            return Failure(kind, TABLE[kind].sentence)
        return await self.health.wait(plan.routes, life.tried)

    async def _permit(self, route: Route, demand: Demand, batch: OpenBatch) -> Permit:
        """Wait for the fleet's permit, then for a place in this process; the line counts as in flight after that."""
        priority = batch.document.options.priority
        permit = await self.gate.admit(route.scopes, demand, batch_id=batch.id, priority=priority)
        try:
            await self.turnstile.enter(batch.id, priority)
        except asyncio.CancelledError:
            self.gate.release(permit)
            raise
        batch.took_off()
        return permit

    def _landed(self, batch: OpenBatch) -> None:
        self.turnstile.leave()
        batch.landed()

    async def _call(self, life: Life, given: Pass, demand: Demand, permit: Permit, batch: OpenBatch) -> Result:
        """Send, read, settle; the attempt is on the line's record when this returns, and when it is cut off."""
        route = given.route
        started_s, began = self.clock(), self.monotonic()
        try:
            result = await self._exchange(life.request, route)
        except asyncio.CancelledError:
            self.gate.settle(permit)
            self.health.lost(given)
            cut_off = Failure(batch.ended_by or Kind.INTERNAL, "")
            cost = self._maybe_cost(route, demand, started_s)
            life.note(_attempt(route, cut_off, Billed.MAYBE, cost, started_s, self.monotonic() - began), cut_off)
            raise
        failure = result if isinstance(result, Failure) else None
        self._settle(permit, route, result, failure)
        self.health.saw(given, failure)
        billed = Billed.YES if failure is None else failure.row.billed
        cost = self._cost(route, result, billed, demand, started_s)
        attempt = _attempt(route, result, billed, cost, started_s, self.monotonic() - began)
        life.note(attempt, failure, is_probe=bool(given.probes))
        if result.usage is not None:
            self.likely.learn(life.request, route, result.usage)
        return result

    async def _exchange(self, request: Request, route: Route) -> Result:
        """Write the call for this route anew, send it, understand what comes back."""
        provider = route.provider
        adapter = adapter_for(provider.wire)
        try:
            key = await self.credentials.key(provider)
            call = adapter.call(request, route, key)
            if isinstance(call, Failure):
                return call
            call = await self.credentials.sign(call, provider)
        except ConfigError as error:
            return Failure(Kind.BAD_KEY, str(error))
        reply = await self.transport.send(call, provider, self.retry.request_timeout_s)
        if isinstance(reply, Failure):
            return reply
        self.gate.observe(route.scopes, reply.headers)
        result = adapter.read(reply, request, route, key=key)
        if isinstance(result, Failure) and result.kind is Kind.TOKEN_EXPIRED:
            self.credentials.forget(provider)
        return result

    def _settle(self, permit: Permit, route: Route, result: Result, failure: Failure | None) -> None:
        """Put the fact in the estimate's place, and tell the fleet what the provider said about its limits."""
        usage = result.usage
        if usage is not None:
            self.gate.settle(permit, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        elif failure is not None and failure.row.billed is Billed.NO:
            self.gate.release(permit, sent=failure.status is not None)
        else:
            self.gate.settle(permit)
        if failure is not None and failure.row.effect is Effect.PAUSE and failure.retry_after_s is not None:
            self.gate.pause(route.scopes[0][0], failure.retry_after_s, failure.kind)

    def _cost(self, route: Route, result: Result, billed: Billed, demand: Demand, when_s: float) -> Cost:
        if result.usage is None and billed is Billed.NO:
            return Cost()
        if result.usage is None and billed is Billed.MAYBE:
            return self._maybe_cost(route, demand, when_s)
        answer = result if isinstance(result, Answer) else None
        return self.prices.cost(
            route,
            served_model=result.served_model,
            usage=result.usage,
            when_s=when_s,
            tier=(answer and answer.tier) or "standard",
            reported_nanousd=answer.reported_nanousd if answer else None,
        )

    def _maybe_cost(self, route: Route, demand: Demand, when_s: float) -> Cost:
        return self.prices.maybe_cost(
            route, input_tokens=demand.input_tokens, output_tokens=demand.output_tokens, when_s=when_s
        )

    def _standing(self, life: Life, plan: Plan, batch: OpenBatch) -> Standing:
        deadline_s = batch.document.deadline_s
        left_s = None if deadline_s is None else deadline_s - self.clock()
        return life.standing(plan, left_s, repeats_safely=True)

    def _rules(self, plan: Plan, batch: OpenBatch) -> Rules:
        retry = self.retry
        return Rules(
            max_attempts=retry.max_attempts,
            max_attempts_total=retry.max_attempts_total,
            base_delay_s=retry.base_delay_s,
            max_delay_s=retry.max_delay_s,
            fall_back_on_filter=plan.fall_back_on_filter,
            wait_for_quota=(batch.document.options.on_quota or retry.on_quota) == "wait",
        )


def _attempt(route: Route, result: Result, billed: Billed, cost: Cost, started_s: float, latency_s: float) -> Attempt:
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
