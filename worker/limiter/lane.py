"""One lane of the gate: the requests of one process that must fit the same scopes.

Comes in: those who wait, and settlements. Goes out: permits, in blocks that the admission script in Redis grants: one
call asks for many requests and carries the settlements of all that ended since. At most one call is under way. A
granted block leaves by ``handout``, what is granted ahead of its place by ``standby``. Without Redis nothing is granted,
and settlements wait. Called by ``gate``; whose turn it is inside the process is ``waiters``, what fits is ``admit.lua``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol

from redis.exceptions import RedisError

from bucketline.catalog import Limits
from worker.limiter.handout import hand_out
from worker.limiter.permits import Books, Permit
from worker.limiter.scopes import budget_scope, scope_keys
from worker.limiter.standby import Standby
from worker.limiter.waiters import Waiter, Waiters
from worker.tasks import end_tasks

__all__ = ["BudgetExhausted", "Lane", "Office"]

_GAP_S = 0.02  #: calls to Redis are at least so far apart; requests and settlements that come meanwhile go together
_BUSY_GAP_S = 0.05  #: the same for a lane whose last block was large: fewer and larger calls cost less
_BUSY = 32  #: requests that make a block large
_TURNOVER_GAP_S = 0.005  #: the same where calls in flight are short and nobody stands by for the next free place
_HEARTBEAT_S = 5.0  #: a lane with calls in flight says so at least this often; its lease is three times as long
_PARK_S = 1.0
_BLOCK = 256  #: requests in one call, at most
_NEVER_US = 2**53 - 1


class BudgetExhausted(Exception):
    """A batch's budget cannot pay for the request, whatever the calls in flight turn out to cost."""


class Office(Protocol):
    """What a lane needs of its gate."""

    clock: Callable[[], float]
    draw: Callable[[], float]
    room: Callable[[], int]
    starved: set[Lane]  #: who has waiters while the process has no room for more calls

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
        self.standby = Standby(self.books, office.clock)
        self.is_open: bool | None = None  #: True: no limit is in force, nothing need be asked; None: not known yet
        self.held_by: tuple[str, str] | None = None  #: the scope that has no room at present, and of what
        self._office = office
        self._member = f"{office.worker_id}|{index}"
        self._again_at = self._unpark_at = self._away_s = self._pause_s = 0.0
        self._asked_at = -math.inf
        self._want = 16
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

    def paused(self) -> None:
        """The provider has asked for a pause: nobody goes on what was granted before."""
        self.is_open = False
        self.waiters.put_back(self.standby.take_back())

    def ask_again(self) -> None:
        """What the script, or the process's room, said about waiting holds no more."""
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

    def _gap_s(self) -> float:
        """How far apart two calls to Redis are at least."""
        waits_for = self.held_by[1] if self.held_by is not None else ""
        if waits_for == "concurrency" and not self.standby:
            return _TURNOVER_GAP_S
        if self._want >= _BUSY and waits_for not in ("concurrency", "order"):
            return _BUSY_GAP_S
        return _GAP_S

    def _due(self) -> float:
        """When the next call to Redis is due, on the gate's clock."""
        due, gap_s = math.inf, self._gap_s()
        if len(self.waiters):
            if self._office.room() > 0:
                due = max(self._again_at, self._asked_at + gap_s)
            else:
                self._office.starved.add(self)
        if self.waiters.parked:
            due = min(due, max(self._unpark_at, self._asked_at + gap_s))
        if self.books.unsettled and not self.is_open:
            due = min(due, self._asked_at + gap_s)
        if self.books.holding or self.books.holding_of:
            due = min(due, self._asked_at + _HEARTBEAT_S)
        return min(due, self.standby.due())

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
        self.waiters.put_back(self.standby.take_back(math.inf if last else asked_at))
        block = [] if last else self.waiters.take(min(self._want, office.room()))
        costs = [self.books.cost(waiter) for waiter in block]
        parcel = self.books.collect()
        purses = self.books.purses(parcel, {w.batch_id for w in block if w.batch_id in office.budgets})
        names = [name for name, _ in self.scopes] + [budget_scope(batch_id) for batch_id in purses]
        self.standby.places = self.books.holding
        try:
            answer = await office.admission(
                [key for name in names for key in scope_keys(name)],
                [
                    self._member,
                    str(len(self.waiters) + len(block) + len(self.standby)),
                    f"{parcel.sequence} {len(names)} {len(self.scopes)} {self._spell_line(block, asked_at)}",
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

    def _spell_line(self, block: list[Waiter], now: float) -> str:
        """Where we stand in line, how many stand by already, and how many more should."""
        rank, age_s = (block[0].priority, now - self.waiters.oldest(block)) if block else (0, 0.0)
        return f"{rank} {max(0, round(age_s * 1e6))} {len(self.standby)} {self.standby.wanted(now)}"

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
        verdicts, over_us, again_us, _, slot, reason, where, may_stand = answer
        self.held_by = (self.scopes[where - 1][0], reason.decode()) if where else None
        going: list[tuple[Waiter, Permit]] = []
        went = placed = 0
        for waiter, cost, verdict in zip(block, costs, verdicts.decode(), strict=False):
            if verdict in "ga":
                went, placed = went + 1, placed + (verdict == "g")
                behind = verdict == "a" or len(self.standby) > 0  # who stands by came first, so has the first place
                budgeted = waiter.batch_id in self._office.budgets
                permit = self.books.permit(waiter, cost, slot, budgeted=budgeted, ahead=behind)
                if behind:
                    self.standby.push(waiter, permit)
                else:
                    going.append((waiter, permit))
            elif verdict == "b":
                self.waiters.park(waiter)
                self._unpark_at = self._asked_at + _PARK_S
            elif not waiter.future.done():
                waiter.future.set_exception(BudgetExhausted(waiter.batch_id))
        self.waiters.put_back(block[len(verdicts) :])
        self.standby.places += placed
        if placed or may_stand:
            self.standby.hand_on()
        if not may_stand:
            self.waiters.put_back(self.standby.take_back())
        # As much again where all went, else little more than went: who is asked for in vain is put back at a cost.
        self._want = min(_BLOCK, max(16, went + (went if went == len(block) else 8)))
        again_s = max(0, again_us) / 1e6
        self._again_at = self._asked_at + again_s + self._jitter_s(reason == b"paused", again_s)
        await hand_out(going, over_us / 1e6, self._give_back)

    def _give_back(self, permit: Permit) -> None:
        self.books.give_back(permit, sent=False)

    def _jitter_s(self, paused: bool, left_s: float) -> float:
        """After a pause the lanes of the fleet come back at different times: up to a tenth of the pause later."""
        if not paused:
            self._pause_s = 0.0
            return 0.0
        self._pause_s += left_s
        return self._office.draw() * min(0.1 * self._pause_s, 5.0) if left_s < 1.0 else 0.0

    def _open_up(self) -> None:
        """No limit at all: everyone goes who has no budget to keep."""
        kept = []
        self.waiters.put_back(self.standby.take_back())
        while block := self.waiters.take(_BLOCK):
            for waiter in block:
                if waiter.batch_id in self._office.budgets:
                    kept.append(waiter)
                elif not waiter.future.done():
                    waiter.future.set_result(self.books.permit_unasked(waiter.batch_id))
        for waiter in kept:
            self.waiters.push(waiter)
