"""One line's life: route → permit → send → read → decide → outcome.

Comes in: a request of an open batch. Goes out: its outcome, once. While a line waits (for a permit, for a backoff, for
a closed route) it holds nothing but its own memory, and its clock stands still: a call's time begins when it is sent.
The rules are elsewhere and pure (``decide``, ``routing``, the adapters); this file only puts them in order. Called by
``shard``; the call itself is ``attempt``'s, the network is behind ``transport``, the fleet's limits behind ``limiter``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bucketline.catalog import Catalog, Plan, Route
from bucketline.errors import ConfigError
from bucketline.failure import TABLE, Failure, Kind
from bucketline.outcome import Outcome
from bucketline.request import Request
from bucketline.settings import RetrySettings
from bucketline.sign import Reason
from bucketline.tally import CUT
from worker.attempt import Caller, Leave, Result
from worker.control import OpenBatch
from worker.decide import FallBack, Retry, Rules, Standing, WaitForRoute, attempt_timeout_s, decide
from worker.health import Health, Pass
from worker.life import Life
from worker.limiter import BudgetExhausted, Gate
from worker.limiter.likely import Likely
from worker.measured import Measurements
from worker.orders import Orders
from worker.providers.base import Answer
from worker.reasons import asks_to_reason, repeats_safely
from worker.revise import raised
from worker.sight import Sight
from worker.spill import first_granted, patience_s
from worker.turnstile import Turnstile

__all__ = ["Dispatcher"]

_PERMIT_GOOD_S = 0.3  #: within the margin that the gate's minutes have for the way to the provider
_OUTAGE = 30  #: an outage is very long after so many of the longest backoffs


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Everything a line needs on its way; one for each process, put together in ``engine``."""

    catalog: Catalog
    orders: Orders
    health: Health
    gate: Gate
    turnstile: Turnstile
    caller: Caller
    likely: Likely
    measured: Measurements
    retry: RetrySettings
    sight: Sight = field(default_factory=Sight)
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, life: Life, batch: OpenBatch) -> Outcome:
        """See one line to its end."""
        request = life.request
        try:
            plan = self.catalog.plan(request.model)
        except ConfigError as error:
            return life.failed(Failure(Kind.INVALID_INPUT, str(error)))
        life.order = self.orders.order(request, plan, batch.document.options, self.draw())
        if not life.order:
            return life.failed(Failure(Kind.INVALID_INPUT, "No route of the plan reaches the least quality asked for."))
        outcome = None
        while outcome is None:
            batch.check()
            if not batch.running.is_set():
                with self.sight.wait(batch.id, Reason.PAUSED):
                    await batch.running.wait()
            outcome = await self._round(life, plan, batch)
        return outcome

    async def _round(self, life: Life, plan: Plan, batch: OpenBatch) -> Outcome | None:
        """One attempt and what follows from it; None where the line goes on."""
        given = await self._route(life, plan, batch)
        if given is None:
            return None
        if isinstance(given, Failure):
            return life.failed(given)
        try:
            leave = await self._permit(life, plan, given, batch)
        except BudgetExhausted:
            return self._unaffordable(life, given, batch)
        given = leave.given
        life.enter_route(given.index)
        try:
            if self.health.is_closed(given) or not batch.running.is_set():
                self.gate.release(leave.permit)
                self.health.lost(given)
                return None
            if life.overtaken is not None:
                await self._check(life.overtaken, leave)
            result = await self.caller.call(life, leave, batch, partial(self._timeout_s, life, batch))
        finally:
            self.turnstile.leave()
            batch.landed()
        return await self._after(life, plan, batch, given, result)

    async def _check(self, overtaken: Callable[[], Awaitable[bool]], leave: Leave) -> None:
        """Raises CancelledError where another worker brought the line's outcome while it waited."""
        gone = True
        try:
            gone = await overtaken()
        finally:
            if gone:
                self.gate.release(leave.permit)
                self.health.lost(leave.given)
        if gone:
            raise asyncio.CancelledError

    async def _after(self, life: Life, plan: Plan, batch: OpenBatch, given: Pass, result: Result) -> Outcome | None:
        """From a result to the line's end, or to its next attempt."""
        if self._raise_cap(life, given.route, batch, result):
            return None
        if isinstance(result, Answer):
            return life.answered(result)
        if result.kind is Kind.CONTEXT_TOO_LONG:
            life.leave_smaller(plan, self.likely.demand(life.request, given.route).input_tokens)
        rules = self._rules(plan, batch)
        match decide(result, self._standing(life, given, rules, batch, result), rules, self.draw()):
            case Retry(after_s):
                with self.sight.wait(batch.id, Reason.BACKOFF, given.route.name):
                    await self.sleep(after_s)
            case FallBack(for_s):
                life.leave_route(None if for_s is None else self.monotonic() + for_s)
            case WaitForRoute():
                pass  # its circuit is open: the next round waits for it
            case _:
                return life.failed(result)
        return None

    async def _route(self, life: Life, plan: Plan, batch: OpenBatch) -> Pass | Failure | None:
        """The first usable route of the line. Where all are closed the line waits, if its batch does; None: look again.

        A route that is only passed over for a while is looked at again when its time is up.
        """
        now_s = self.monotonic()
        order, ready_in_s = life.candidates(now_s), life.ready_in_s(now_s)
        if not order:
            with self.sight.wait(batch.id, Reason.BACKOFF, _names(plan, life.order)):
                await self.sleep(ready_in_s or 0.0)
            return None
        given = self.health.take(plan.routes, order)
        if given is not None:
            return given
        waits = ready_in_s is not None or self._rules(plan, batch).wait_for_quota
        kind = None if waits else self.health.closed_for_good(plan.routes, order)
        if kind is not None:
            return Failure(kind, TABLE[kind].sentence)
        try:
            with self.sight.wait(batch.id, Reason.ROUTE, _names(plan, order)):
                async with asyncio.timeout(ready_in_s):
                    return await self.health.wait(plan.routes, order)
        except TimeoutError:
            return None

    async def _permit(self, life: Life, plan: Plan, given: Pass, batch: OpenBatch) -> Leave:
        """Wait for the fleet's permit, then for a place in this process; the line counts as in flight after that.

        A permit whose place was long in coming goes back for a new one: the minute that it was charged to passes.
        """
        while True:
            try:
                if len(life.order) == 1:
                    leave = await self._admit(life.request, given, batch)
                else:
                    leave = await self._admitted(life, plan, given, batch)
            except BaseException:
                self.health.lost(given)
                raise
            if leave.given is not given:
                self.health.lost(given)
                given = leave.given
            if self.turnstile.try_enter() or await self._place(leave, batch):
                batch.took_off()
                return leave

    async def _place(self, leave: Leave, batch: OpenBatch) -> bool:
        """Wait for a place; False where the permit has grown too old meanwhile: then neither is held any more."""
        began_s = self.monotonic()
        try:
            with self.sight.wait(batch.id, Reason.PLACE):
                await self.turnstile.enter(batch.id, batch.document.options.priority)
        except asyncio.CancelledError:
            self.gate.release(leave.permit)
            self.health.lost(leave.given)
            raise
        if self.monotonic() - began_s <= _PERMIT_GOOD_S:
            return True
        self.gate.release(leave.permit)
        self.turnstile.leave()
        return False

    async def _admitted(self, life: Life, plan: Plan, given: Pass, batch: OpenBatch) -> Leave:
        """The permit for the route, or after a while for a later one, where the plan or the deadline lets it overflow."""
        patience = patience_s(plan, self._time_left_s(batch))
        if patience is None:
            return await self._admit(life.request, given, batch)
        order = list(life.candidates(self.monotonic()))
        later = order[order.index(given.index) + 1 :]
        others = [Pass(n, plan.routes[n]) for n in later if self.health.usable(plan.routes[n])]
        waits = [partial(self._admit, life.request, one, batch) for one in (given, *others)]
        _, leave = await first_granted(waits, patience, lambda granted: self.gate.release(granted.permit))
        return leave

    async def _admit(self, request: Request, given: Pass, batch: OpenBatch) -> Leave:
        route = given.route
        demand = self.likely.demand(request, route)
        if batch.id in self.gate.budgets:
            demand = replace(demand, nanousd=self.orders.likely_nanousd(request, route) or 0)
        priority = batch.document.options.priority
        with self.sight.wait(batch.id, Reason.PERMIT, route.scopes[-1][0]):
            permit = await self.gate.admit(route.scopes, demand, batch_id=batch.id, priority=priority)
        return Leave(given, demand, permit)

    def _unaffordable(self, life: Life, given: Pass, batch: OpenBatch) -> Outcome | None:
        """The budget cannot pay for this route: try a cheaper one where the batch says so, else the line ends."""
        life.enter_route(given.index)
        if batch.document.options.on_budget == "downgrade" and life.routes_left:
            life.leave_route(None)
            return None
        return life.failed(Failure(Kind.BUDGET, TABLE[Kind.BUDGET].sentence))

    def _raise_cap(self, life: Life, route: Route, batch: OpenBatch, result: Result) -> bool:
        """Ask a truncated line once more with a larger cap, where its batch says so; the answer at hand is kept."""
        if batch.document.options.on_truncated != "raise" or life.raised:
            return False
        cut = result.finish_reason in CUT if isinstance(result, Answer) else result.kind is Kind.TRUNCATED
        if not cut or life.here.attempts >= self.retry.max_attempts:
            return False
        larger = raised(life.base, route)
        if larger is None:
            return False
        life.raised = life.marks["raised"] = True
        life.base = life.request = larger
        if isinstance(result, Answer):
            life.spare, life.order = result, (life.route,)
        return True

    def _standing(self, life: Life, given: Pass, rules: Rules, batch: OpenBatch, failure: Failure) -> Standing:
        latency_s = life.attempts[-1].latency_s if life.attempts else 0.0
        reasons = self.measured.reasons(given.route) or asks_to_reason(life.request, given.route)
        outage_s = self.retry.outage_s or _OUTAGE * self.retry.max_delay_s
        return life.standing(
            self._time_left_s(batch),
            repeats_safely=repeats_safely(failure, latency_s, reasons=reasons),
            hopeless_from=rules.max_attempts if given.probes and self.health.down_s(given) >= outage_s else None,
        )

    def _time_left_s(self, batch: OpenBatch) -> float | None:
        deadline_s = batch.document.deadline_s
        return None if deadline_s is None else deadline_s - self.clock()

    def _timeout_s(self, life: Life, batch: OpenBatch, longest_s: float) -> float:
        return attempt_timeout_s(longest_s, self._time_left_s(batch), life.routes_left)

    def _rules(self, plan: Plan, batch: OpenBatch) -> Rules:
        retry = self.retry
        return Rules(
            max_attempts=retry.max_attempts,
            max_attempts_total=retry.max_attempts_total or retry.max_attempts * len(plan.routes),
            base_delay_s=retry.base_delay_s,
            max_delay_s=retry.max_delay_s,
            fall_back_on_filter=plan.fall_back_on_filter,
            wait_for_quota=(batch.document.options.on_quota or retry.on_quota) == "wait",
            spill_after_s=plan.spill_after_s if plan.spill else None,
        )


def _names(plan: Plan, order: Sequence[int]) -> str:
    """The routes that a line waits for, as the census calls them: the first few."""
    return ",".join(dict.fromkeys(plan.routes[index].name for index in order[:4]))
