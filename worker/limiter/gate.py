"""The gate: no call leaves a worker without a permit, and all permits together fit every limit of the fleet.

Comes in: a route's scopes, what a request will likely use, its batch and priority. Goes out: a permit, when every scope
has room; later the permit comes back with what the call really used. A scope is an account with a provider, a model
under it, or a batch's budget. Waiting is first come first served inside a priority over the whole fleet, and holds
nothing. The decision is one script in Redis on Redis's clock (``admit.lua``), asked by ``lane`` for many requests at
once; a route without any limit asks nobody. Called by ``dispatch``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.catalog import Limits
from bucketline.sign import Hold
from bucketline.value import value
from worker.limiter.daily import next_reset_s
from worker.limiter.lane import BudgetExhausted, Lane
from worker.limiter.permits import Permit
from worker.limiter.ratelimits import Reading, read_limits, whose
from worker.limiter.scopes import DIMENSIONS, FIGURES, ScopeState, budget_scope, figure_keys, read_scopes, script
from worker.limiter.waiters import Waiter
from worker.tasks import end_tasks

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["BudgetExhausted", "Demand", "Gate", "Permit"]

_WATCH_S = 0.5  #: how often a gate looks whether figures were changed
_IDLE_WATCH_S = 0.9  #: the same while no call waits or is in flight
_OBSERVE_S = 0.2  #: headers of one route are read at most so often
_FIGURE_OF = {"requests": "rpm", "tokens": "tpm", "input_tokens": "input_tpm", "output_tokens": "output_tpm"}
_PRIORITIES = 500
_BUDGET_LIFE_S = 30 * 86400

Scopes = Sequence[tuple[str, Limits]]


@value
class Demand:
    """What a request will likely use."""

    input_tokens: int = 0
    output_tokens: int = 0
    nanousd: int = 0


class Gate:
    """One for each process. ``room`` says how many calls the process can take on beside those that have a permit; when it
    may be more than before, ``look`` is called.
    """

    def __init__(
        self,
        redis: Redis,
        worker_id: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
        room: Callable[[], int] | None = None,
    ) -> None:
        self.redis = redis
        self.worker_id = worker_id
        self.clock = clock
        self.draw = rng
        self.budgets: dict[str, int] = {}
        self.room = room or _any_number
        self.starved: set[Lane] = set()
        self._lanes: dict[tuple[str, ...], Lane] = {}
        self._admit, self._pause = script(redis, "admit"), script(redis, "pause")
        self._figures, self._lower = script(redis, "figures"), script(redis, "lower")
        self._base: tuple[int, float] | None = None
        self._resets: dict[tuple[int, str], int] = {}
        self._changes: bytes | None = None
        self._observed_at: dict[str, float] = {}  #: by the last scope: when its headers were last read
        self._said: dict[tuple[str, str], int | None] = {}
        self._messages: deque[Callable[[], Awaitable[Any]]] = deque(maxlen=1000)
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch for changed figures; needs a running loop."""
        self._task = asyncio.create_task(self._watch(), name="gate")

    async def close(self) -> None:
        """Settle what has ended, give the leases back, stop."""
        await end_tasks(self._task)
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    async def admit(self, scopes: Scopes, demand: Demand, *, batch_id: str = "", priority: int = 0) -> Permit:
        """Wait until the request may be sent. Raises BudgetExhausted when its batch cannot pay for it any more."""
        lane = self._lane(scopes)
        if lane.is_open and batch_id not in self.budgets:
            return lane.books.permit_unasked(batch_id)
        future: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        rank = max(-_PRIORITIES, min(_PRIORITIES, priority))
        waiter = Waiter(future, demand.input_tokens, demand.output_tokens, demand.nanousd, batch_id, rank, self.clock())
        lane.push(waiter)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                lane.waiters.cancelled(waiter)
            elif future.exception() is None:
                lane.books.give_back(future.result(), sent=False)
            raise

    def settle(
        self,
        permit: Permit,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        nanousd: int | None = None,
    ) -> None:
        """The call is over and used so much; what is None stays as it was estimated."""
        permit.books.settle(permit, input_tokens, output_tokens, nanousd)

    def release(self, permit: Permit, *, sent: bool = False) -> None:
        """The call was never sent, or was refused without charge (``sent``): nothing of it counts."""
        permit.books.give_back(permit, sent)

    def pause(self, scope: str, seconds: float, reason: str, *, refused: bool = True) -> None:
        """Nobody in the fleet sends to the scope for so long. ``refused``: a call was, so where no limit is known the
        number of calls in flight is halved.
        """
        lanes = [lane for names, lane in self._lanes.items() if scope in names]
        for lane in lanes:
            lane.paused()
        holding = sum(lane.books.holding for lane in lanes)
        us = max(0, round(seconds * 1e6))
        names = [keys.limit_figures(scope), keys.gate_state(scope), keys.LIMIT_CHANGES]
        self._tell(partial(self._pause, keys=names, args=["", us, reason, "1" if refused else "", holding]))

    def observe(self, scopes: Scopes, headers: Mapping[str, str]) -> None:
        """What a provider's headers say about its limits; corrects downwards only.

        What is left lowers the bucket of the scope that has the limit. A limit below ours takes its place for a model
        with limits of its own; an account's figure is left alone, since one account's models differ and the headers
        speak of one of them.
        """
        route, now = scopes[-1][0], self.clock()
        if now - self._observed_at.get(route, -math.inf) < _OBSERVE_S:
            return
        self._observed_at[route] = now
        for reading in read_limits(headers):
            place = whose(scopes, reading.dimension)
            name, limits = scopes[place]
            figure = _FIGURE_OF[reading.dimension]
            ours = getattr(limits, figure)
            if ours is not None and reading.remaining is not None and reading.remaining * 60 < ours * limits.burst_s:
                keys_, left = [keys.limit_figures(name), keys.gate_state(name)], reading.remaining
                self._tell(partial(self._lower, keys=keys_, args=[figure, FIGURES[figure], left]))
            if place > 0 and reading.per_minute:
                self._lower_figure(name, figure, ours, reading)

    def holds(self) -> list[Hold]:
        """What holds up those who wait here; for display, so it may be a moment old."""
        now, found = self.clock(), []
        for names, lane in self._lanes.items():
            first = lane.waiters.first()
            scope, reason = lane.held_by or (names[-1], "order")
            if first is not None:
                tokens = first.input_tokens + first.output_tokens
                found.append(Hold(names[-1], scope, reason, len(lane.waiters), tokens, now - first.since))
            if lane.waiters.parked:
                found.append(Hold(names[-1], names[-1], "money", lane.waiters.parked, 0, 0.0))
        return found

    def look(self) -> None:
        """The process has room for calls again: lanes that wait for it look."""
        while self.starved:
            self.starved.pop().ask_again()

    async def snapshot(self) -> list[ScopeState]:
        """Every scope of the fleet as it stands."""
        return await read_scopes(self.redis)

    async def set_budget(self, batch_id: str, nanousd: int, *, spent_nanousd: int = 0) -> None:
        """From now on the batch's calls reserve their likely cost; ``spent_nanousd`` counts where Redis knows none."""
        self.budgets[batch_id] = nanousd
        await self.configure_budget(batch_id)
        state = keys.gate_state(budget_scope(batch_id))
        await self.redis.hsetnx(state, "usd", str(spent_nanousd))  # type: ignore[misc]

    def forget_budget(self, batch_id: str) -> None:
        self.budgets.pop(batch_id, None)

    # ── what lanes need ───────────────────────────────────────────────────────────────────────────────────────────

    async def configure(self, name: str, limits: Limits) -> bool:
        """Write a scope's configured figures; True when any limit is in force for it."""
        if self._base is None:
            seconds, micros = await self.redis.time()
            self.heard(seconds * 1_000_000 + micros)
        figures: dict[str, Any] = {figure: getattr(limits, figure) for figure in DIMENSIONS}
        figures["burst_ms"] = round(limits.burst_s * 1000)
        args = ["" if value is None else value for pair in figures.items() for value in pair]
        answer = await self._figures(keys=figure_keys(name), args=[name, "cfg", *args])
        return any(field != b"burst_ms" for field in answer[::2])

    async def configure_budget(self, batch_id: str) -> None:
        name = budget_scope(batch_id)
        budget = self.budgets.get(batch_id, "")
        await self._figures(keys=figure_keys(name), args=["", "cfg", "budget", budget])
        await self.redis.expire(keys.limit_figures(name), _BUDGET_LIFE_S)

    def heard(self, now_us: int) -> None:
        self._base = (now_us, self.clock())

    def reset_us(self, limits: Limits) -> int:
        """The next reset of daily counters, on Redis's clock; this machine's own may be wrong."""
        assert self._base is not None
        now_us = self._base[0] + round((self.clock() - self._base[1]) * 1e6)
        when = (limits.reset_hour, limits.reset_zone)
        known = self._resets.get(when, 0)
        if known <= now_us:
            known = self._resets[when] = round(next_reset_s(now_us / 1e6, *when) * 1e6)
        return known

    async def admission(self, keys: Sequence[str], args: Sequence[str]) -> list[Any]:
        answer: list[Any] = await self._admit(keys=keys, args=["", *args])
        return answer

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _lane(self, scopes: Scopes) -> Lane:
        names = tuple([name for name, _ in scopes])
        lane = self._lanes.get(names)
        if lane is None:
            lane = self._lanes[names] = Lane(self, len(self._lanes), scopes)
            lane.start()
        return lane

    def _lower_figure(self, name: str, figure: str, ours: int | None, reading: Reading) -> None:
        limit = reading.limit if ours is None or (reading.limit or 0) < ours else None
        if self._said.get((name, figure)) != limit:
            self._said[name, figure] = limit
            args = [name, "seen", figure, "" if limit is None else limit]
            self._tell(partial(self._figures, keys=figure_keys(name), args=args))

    def _tell(self, message: Callable[[], Awaitable[Any]]) -> None:
        self._messages.append(message)
        self._told.set()

    def _is_busy(self) -> bool:
        return any(len(lane.waiters) or lane.books.holding for lane in self._lanes.values())

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _WATCH_S if self._is_busy() else _IDLE_WATCH_S)
            self._told.clear()
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                while self._messages:
                    await self._messages[0]()
                    self._messages.popleft()
                changes = await self.redis.get(keys.LIMIT_CHANGES)
                if changes != self._changes:
                    for lane in list(self._lanes.values()):
                        await lane.refresh()
                    self._changes = changes


def _any_number() -> int:
    return 1_000_000
