"""One lane of the gate: the requests of one process that must fit the same scopes.

Comes in: those who wait, and settlements. Goes out: permits, in blocks that the admission script in Redis grants: one
call asks for many requests and carries the settlements of all that ended since. At most one call is under way. A
granted block is spread evenly over the time that the script names. Without Redis nothing is granted, and settlements
wait. Called by ``limiter``; whose turn it is inside the process is ``waiters``, what fits is ``admit.lua``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol

from aiolimiter import AsyncLimiter
from redis.exceptions import RedisError

from bucketline import keys
from bucketline.catalog import Limits
from worker.limiter.permits import Books, Permit
from worker.limiter.waiters import Waiter, Waiters
from worker.tasks import end_tasks

__all__ = ["BudgetExhausted", "Lane", "Office", "budget_scope", "scope_keys"]

_GAP_S = 0.02  #: calls to Redis are at least so far apart; requests and settlements that come meanwhile go together
_BUSY_GAP_S = 0.05  #: the same for a lane whose last block was large: fewer and larger calls cost less
_BUSY = 32  #: requests that make a block large
_TURNOVER_GAP_S = 0.005  #: the same where calls in flight are what is short: a free place should not stand empty
_HEARTBEAT_S = 5.0  #: a lane with calls in flight says so at least this often; its lease is three times as long
_PARK_S = 1.0
_CLUMP_S = 0.01  #: a block leaves in clumps at least so far apart, which saves timers
_BLOCK = 256  #: requests in one call, at most
_NEVER_US = 2**53 - 1


class BudgetExhausted(Exception):
    """A batch's budget cannot pay for the request, whatever the calls in flight turn out to cost."""


class Office(Protocol):
    """What a lane needs of its gate."""

    clock: Callable[[], float]
    draw: Callable[[], float]
    room: Callable[[], int]

    @property
    def worker_id(self) -> str: ...
    @property
    def budgets(self) -> Collection[str]: ...
    def reset_us(self, limits: Limits) -> int: ...
    def heard(self, now_us: int) -> None: ...
    async def configure(self, name: str, limits: Limits) -> bool: ...
    async def configure_budget(self, batch_id: str) -> None: ...
    def admission(self, keys: Sequence[str], args: Sequence[str]) -> Awaitable[list[Any]]: ...


class Lane:
    """The waiters and the calls in flight of one set of scopes."""

    def __init__(self, office: Office, index: int, scopes: Sequence[tuple[str, Limits]]) -> None:
        self.scopes = tuple(scopes)
        self.waiters = Waiters()
        self.books = Books(self.settled)
        self.is_open: bool | None = None  #: True: no limit is in force, nothing need be asked; None: not known yet
        self.held_by: tuple[str, str] | None = None  #: the scope that has no room at present, and of what
        self.observed_at = -math.inf  #: when a provider's headers were last read
        self._office = office
        self._member = f"{office.worker_id}|{index}"
        self._again_at = self._unpark_at = self._away_s = self._pause_s = 0.0
        self._asked_at = -math.inf
        self._want = 16
        self._starved = False  #: waiters are here, but the process has no room for more calls
        self._closing = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"lane {self.scopes[-1][0]}")

    async def close(self, grace_s: float = 2.0) -> None:
        """Tell Redis what has ended, then stop; those who wait are not granted any more."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace_s)
            await end_tasks(self._task)

    def push(self, waiter: Waiter) -> None:
        self.waiters.push(waiter)
        if len(self.waiters) == 1:
            self._wake.set()

    def settled(self) -> None:
        """A call has ended: there may be room again, and money."""
        self._unpark_at = 0.0
        if self.held_by is not None and self.held_by[1] == "concurrency":
            self._again_at = 0.0  # the place is free now: the next call need not wait for the script's guess
        self._wake.set()

    def ask_again(self) -> None:
        """Something has changed: what the script said about waiting holds no more."""
        self._again_at = 0.0
        self._wake.set()

    async def refresh(self) -> None:
        """Write our figures where they are missing, and learn whether any limit is in force."""
        limited = [await self._office.configure(name, limits) for name, limits in self.scopes]
        self.is_open = not any(limited)
        if self.is_open:
            self._open_up()
        self.ask_again()

    # ── the pump ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while not self._closing:
            await self._until_due()
            try:
                if self.is_open is None:
                    await self.refresh()
                elif not self._closing:
                    await self._ask()
                self._away_s = 0.0
            except (RedisError, OSError, TimeoutError):
                self._away_s = min(1.0, max(0.05, 2 * self._away_s))
                await asyncio.sleep(self._away_s)
        if self.is_open is not None:
            with contextlib.suppress(RedisError, OSError):  # leases and reservations run out by themselves
                await self._ask(last=True)

    def _due(self) -> float:
        """When the next call to Redis is due, on the gate's clock."""
        due = math.inf
        gap_s = _BUSY_GAP_S if self._want >= _BUSY else _GAP_S
        if self.held_by is not None and self.held_by[1] == "concurrency":
            gap_s = _TURNOVER_GAP_S
        self._starved = len(self.waiters) > 0 and self._office.room() <= 0
        if len(self.waiters) and not self._starved:
            due = max(self._again_at, self._asked_at + gap_s)
        if self.waiters.parked:
            due = min(due, max(self._unpark_at, self._asked_at + gap_s))
        if self.books.unsettled and not self.is_open:
            due = min(due, self._asked_at + gap_s)
        if self.books.holding or self.books.holding_of:
            due = min(due, self._asked_at + _HEARTBEAT_S)
        return due

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closing:
            wait_s = self._due() - self._office.clock()
            if wait_s <= 0:
                return
            self._wake.clear()
            timer = loop.call_later(wait_s, self._wake.set) if wait_s < math.inf else None
            await self._wake.wait()
            if timer is not None:
                timer.cancel()

    async def _ask(self, last: bool = False) -> None:
        """One call to Redis: settlements go with it, permits come back."""
        office, asked_at = self._office, self._office.clock()
        if self.waiters.parked and asked_at >= self._unpark_at:
            self.waiters.unpark()
        block = [] if last else self.waiters.take(min(self._want, office.room()))
        costs = [self.books.cost(waiter) for waiter in block]
        parcel = self.books.collect()
        purses = self.books.purses(parcel, {w.batch_id for w in block if w.batch_id in office.budgets})
        names = [name for name, _ in self.scopes] + [budget_scope(batch_id) for batch_id in purses]
        age_us = round((asked_at - self.waiters.oldest(block)) * 1e6) if block else 0
        rank = block[0].priority if block else 0
        try:
            answer = await office.admission(
                [key for name in names for key in scope_keys(name)],
                [
                    self._member,
                    str(len(self.waiters) + len(block)),
                    f"{parcel.sequence} {len(names)} {len(self.scopes)} {rank} {max(0, age_us)}",
                    self._spell_scopes(purses, parcel.money),
                    parcel.spell(),
                    self._spell_block(block, costs, purses),
                ],
            )
        except BaseException:
            self.waiters.put_back(block)
            raise
        finally:
            self._asked_at = office.clock()
        if answer[0] == b"unknown":
            self.waiters.put_back(block)
            await self._write_figures(int(answer[1]), purses)
            return
        self.books.arrived()
        office.heard(int(answer[3]))
        await self._act(block, costs, answer)

    def _spell_scopes(self, purses: list[str], money: dict[str, int]) -> str:
        held = self.books.holding_of
        words = [f"{self.books.holding} {self._office.reset_us(limits)} 0" for _, limits in self.scopes]
        words += [f"{held.get(batch_id, 0)} {_NEVER_US} {money.get(batch_id, 0)}" for batch_id in purses]
        return " ".join(words)

    def _spell_block(self, block: list[Waiter], costs: list[tuple[int, int]], purses: list[str]) -> str:
        if not purses:
            return " ".join([f"{cost[0]} {cost[1]} 0 0" for cost in costs])
        place = {batch_id: len(self.scopes) + n for n, batch_id in enumerate(purses, 1)}
        return " ".join(
            f"{cost[0]} {cost[1]} {waiter.nanousd} {place.get(waiter.batch_id, 0)}"
            for waiter, cost in zip(block, costs, strict=True)
        )

    async def _write_figures(self, position: int, purses: list[str]) -> None:
        """Redis has lost, or never had, a scope's figures."""
        if position <= len(self.scopes):
            name, limits = self.scopes[position - 1]
            await self._office.configure(name, limits)
        else:
            await self._office.configure_budget(purses[position - 1 - len(self.scopes)])

    async def _act(self, block: list[Waiter], costs: list[tuple[int, int]], answer: list[Any]) -> None:
        """Do as the script has said."""
        verdicts, over_us, again_us, _, slot, reason, where = answer
        self.held_by = (self.scopes[where - 1][0], reason.decode()) if where else None
        budgets = self._office.budgets
        going: list[tuple[Waiter, Permit]] = []
        for waiter, cost, verdict in zip(block, costs, verdicts.decode(), strict=False):
            if verdict == "g":
                going.append((waiter, self.books.permit(waiter, cost, slot, waiter.batch_id in budgets)))
            elif verdict == "b":
                self.waiters.park(waiter)
                self._unpark_at = self._asked_at + _PARK_S
            elif not waiter.future.done():
                waiter.future.set_exception(BudgetExhausted(waiter.batch_id))
        self.waiters.put_back(block[len(verdicts) :])
        # As much again where all went, else little more than went: who is asked for in vain is put back at a cost.
        self._want = min(_BLOCK, max(16, len(going) + (len(going) if len(going) == len(block) else 8)))
        again_s = max(0, again_us) / 1e6
        self._again_at = self._asked_at + again_s + self._jitter_s(reason == b"paused", again_s)
        await self._hand_out(going, over_us / 1e6)

    def _jitter_s(self, paused: bool, left_s: float) -> float:
        """After a pause the lanes of the fleet come back at different times: up to a tenth of the pause later."""
        if not paused:
            self._pause_s = 0.0
            return 0.0
        self._pause_s += left_s
        return self._office.draw() * min(0.1 * self._pause_s, 5.0) if left_s < 1.0 else 0.0

    async def _hand_out(self, going: list[tuple[Waiter, Permit]], over_s: float) -> None:
        """Let a granted block go, evenly over its time; who was cancelled meanwhile gives the permit back."""
        clumps = max(1, min(len(going), math.ceil(over_s / _CLUMP_S)))
        size = max(1, -(-len(going) // clumps))
        step_s = over_s / clumps
        # The limiter bounds the pace; we sleep beside it, since its own waiting wakes again and again while a loop
        # whose clock counts whole milliseconds believes that the time is not yet there.
        pace = AsyncLimiter(1, max(0.8 * step_s, 1e-6))
        done = 0
        try:
            for start in range(0, len(going), size):
                if start:
                    await asyncio.sleep(step_s)
                await pace.acquire()
                for waiter, permit in going[start : start + size]:
                    done += 1
                    if waiter.future.done():
                        self.books.give_back(permit, sent=False)
                    else:
                        waiter.future.set_result(permit)
        finally:
            for _, permit in going[done:]:
                self.books.give_back(permit, sent=False)

    def _open_up(self) -> None:
        """No limit at all: everyone goes who has no budget to keep."""
        kept = []
        while block := self.waiters.take(_BLOCK):
            for waiter in block:
                if waiter.batch_id in self._office.budgets:
                    kept.append(waiter)
                elif not waiter.future.done():
                    waiter.future.set_result(self.books.permit_unasked(waiter.batch_id))
        for waiter in kept:
            self.waiters.push(waiter)


def budget_scope(batch_id: str) -> str:
    """The scope under which a batch's budget is kept."""
    return f"~{batch_id}"


def scope_keys(name: str) -> tuple[str, str, str, str]:
    """The keys of one scope, in the order of ``admit.lua``."""
    return keys.limit_figures(name), keys.gate_state(name), keys.gate_line(name), keys.gate_leases(name)
