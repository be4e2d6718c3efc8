"""Which routes may be used: circuits shared by the fleet.

Comes in: what each call showed about its route. Goes out: the route a line may take now, or a wait until there is one.
A process notes failures where it stands and tells Redis a few times a second, in one script for all its circuits; so a
provider that is down costs the fleet a handful of calls. An open circuit lets one probe through when its pause is over;
a probe's failure opens it for longer and counts against no line. Called by ``dispatch``; which failures count is said by
the rows of ``bucketline.failure``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline.catalog import Route
from bucketline.failure import Effect, Failure, Kind, Wait
from bucketline.value import value
from worker.circuits import Circuits, Pauses
from worker.limiter.daily import next_reset_s
from worker.logs import logger
from worker.tasks import end_tasks

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Health", "Pass"]

_log = logger(__name__)

_LOOK_S = 0.4
_DAY_LOOK_S = 3600.0  #: a spent day is looked at again after this, lest we have the wrong idea of its reset
_MISSING = frozenset({Kind.MODEL_MISSING, Kind.NOT_PERMITTED})  #: a route that exists for nobody of ours
_MILD = frozenset({Kind.SERVER_ERROR, Kind.ERROR_IN_200, Kind.EMPTY_ANSWER})
_OPERATOR_KINDS = frozenset({Kind.ACCOUNT_EXHAUSTED.value, Kind.BAD_KEY.value})


@value
class Pass:
    """Leave to call a route. ``probes`` names the circuits that this call tries out; empty for an ordinary call."""

    index: int
    route: Route
    probes: tuple[str, ...] = ()
    for_want_of_better: bool = False  #: the route was missing lately, and there is no other


@dataclass(slots=True, eq=False)
class _Waiter:
    """A line that waits for any of its routes."""

    routes: Sequence[Route]
    order: Sequence[int]
    future: asyncio.Future[Pass]


class Health:
    """The circuits of one process, and the lines that wait for one."""

    def __init__(self, redis: Redis, clock: Callable[[], float], pauses: Pauses | None = None) -> None:
        self._circuits = Circuits(redis, pauses or Pauses())
        self._clock = clock
        self._waiters: dict[_Waiter, None] = {}  # in order of arrival: whoever tried a route out waits last again
        self._tell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def parked(self) -> int:
        """Lines that wait for a route at the moment."""
        return len(self._waiters)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="health")

    async def close(self) -> None:
        await end_tasks(self._task)

    # ── before a call ─────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, routes: Sequence[Route], order: Sequence[int]) -> Pass | None:
        """The first route, in the given order, whose circuits let a call through; None when there is none.

        A route that was missing lately (its model, or our right to it) is passed over while another is open; nobody waits
        for it, so a line with no other way is told by the provider itself.
        """
        if not self._circuits.by_name:
            return Pass(order[0], routes[order[0]]) if order else None
        for index in order:
            route = routes[index]
            standing = self._circuits.states(_names(route))
            if not standing:
                return Pass(index, route)
            if self._may_try(route):
                return self._probe(index, route)
            for circuit in standing:
                circuit.passed_over = True
        return next((self._anyway(index, routes[index]) for index in order if self._is_missing(routes[index])), None)

    def _is_missing(self, route: Route) -> bool:
        return all(circuit.kind in _MISSING for circuit in self._circuits.states(_names(route)))

    @staticmethod
    def _anyway(index: int, route: Route) -> Pass:
        return Pass(index, route, for_want_of_better=True)

    def _may_try(self, route: Route) -> bool:
        """Whether a probe may leave. Who has the account's may try a failing route with the same call.

        Two workers, of which one held the account's probe and the other the route's, would wait for each other.
        """
        account, own = (self._circuits[name] for name in _names(route))
        if account.state == "closed":
            return own.state == "probe"
        return account.state == "probe" and (own.state != "open" or own.kind == "failing")

    def usable(self, route: Route) -> bool:
        """Whether ordinary calls may pass."""
        return not self._circuits.by_name or not self._circuits.states(_names(route))

    async def wait(self, routes: Sequence[Route], order: Sequence[int]) -> Pass:
        """As ``take``, but waits until a route lets a call through; first come first served."""
        given = self.take(routes, order)
        if given is not None:
            return given
        circuits = [self._circuits[name] for index in order for name in _names(routes[index])]
        waiter = _Waiter(routes, order, asyncio.get_running_loop().create_future())
        self._waiters[waiter] = None
        for circuit in circuits:
            circuit.wanted += 1
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self.lost(waiter.future.result())
            raise
        finally:
            self._waiters.pop(waiter, None)
            for circuit in circuits:
                circuit.wanted -= 1

    def is_closed(self, given: Pass) -> bool:
        """Whether the route has closed to ordinary calls since this leave was given."""
        return not (given.probes or given.for_want_of_better or self.usable(given.route))

    def closed_for_good(self, routes: Sequence[Route], order: Sequence[int]) -> Kind | None:
        """Why an operator must act before any of these routes can be used; None while one may open by itself."""
        kinds = [self._operator_kind(routes[index]) for index in order]
        return kinds[0] if kinds and None not in kinds else None

    def down_s(self, given: Pass) -> float:
        """How long ago the circuits that this probe tries out opened; 0 for an ordinary call."""
        return max((self._circuits[name].open_for_ms / 1000 for name in given.probes), default=0.0)

    # ── after a call ──────────────────────────────────────────────────────────────────────────────────────────────

    def saw(self, given: Pass, failure: Failure | None, *, blame: bool = True) -> None:
        """Note what a call showed. An answer of any kind that is not the route's fault counts as well.

        ``blame`` is false for a call that was cut off early for reasons of its own batch.
        """
        if not blame:
            self.lost(given)
            return
        route = given.route
        missing = failure is not None and failure.kind in _MISSING
        hurts = failure is not None and failure.row.hurts_health
        for name in given.probes:
            self._circuits[name].probed = "failed" if hurts or missing else "ok"
            self._tell.set()
        if failure is not None and failure.row.effect is Effect.CLOSE:
            self._open(route.provider.name, failure.kind, route.provider.recheck_s or 0.0)
        elif failure is not None and failure.row.wait is Wait.DAY:
            self._open(route.name, failure.kind, self._day_left_s(route))
        elif not given.probes:
            circuit = self._circuits[route.name]
            if failure is not None and missing:
                opened = circuit.miss(failure.kind.value)
            else:
                opened = circuit.count(failed=hurts, mildly=failure is not None and _is_mild(failure))
            if opened:
                _log.warning("circuit_opened", circuit=route.name, kind=circuit.kind)
                self._tell.set()

    def lost(self, given: Pass) -> None:
        """A call was not made, or ended without showing anything; its probe is given to another."""
        for name in given.probes:
            self._circuits[name].probed = "back"
            self._tell.set()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _day_left_s(self, route: Route) -> float:
        limits = route.provider.model_limits.get(route.model, route.provider.limits)
        now_s = self._clock()
        return min(_DAY_LOOK_S, next_reset_s(now_s, limits.reset_hour, limits.reset_zone) - now_s)

    def _operator_kind(self, route: Route) -> Kind | None:
        kinds = (circuit.kind for circuit in self._circuits.states(_names(route)))
        return next((Kind(kind) for kind in kinds if kind in _OPERATOR_KINDS), None)

    def _open(self, name: str, kind: Kind, for_s: float) -> None:
        circuit = self._circuits[name]
        if circuit.state == "closed":
            _log.warning("circuit_opened", circuit=name, kind=kind.value)
        circuit.open(kind.value, int(for_s * 1000))
        self._tell.set()

    def _probe(self, index: int, route: Route) -> Pass:
        """Hand a probe out; until it comes back its circuits are open for everyone else."""
        probes = []
        for name in _names(route):
            circuit = self._circuits[name]
            if circuit.state != "closed":
                circuit.state = "open"
                probes.append(name)
        return Pass(index, route, tuple(probes))

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._tell.wait()
            except TimeoutError:
                pass
            self._tell.clear()
            try:
                freed = await self._circuits.speak()
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__)
                await asyncio.sleep(_LOOK_S)
                continue
            if freed:
                self._wake()

    def _wake(self) -> None:
        """Hand out what there is, in order of arrival."""
        for waiter in list(self._waiters):
            if not waiter.future.done():
                given = self.take(waiter.routes, waiter.order)
                if given is not None:
                    waiter.future.set_result(given)


def _is_mild(failure: Failure) -> bool:
    """Whether the provider was there and answered in its own form: what failed may be this one line."""
    return failure.kind in _MILD and failure.status in (200, 500)


def _names(route: Route) -> tuple[str, str]:
    """The circuits of a route: the account's and its own."""
    return (route.provider.name, route.name)
