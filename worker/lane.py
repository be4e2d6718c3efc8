"""One lane of the gate: the requests of one process that must fit the same scopes.

Comes in: waiters and settlements. Goes out: permits, in blocks that the admission script in Redis grants: one call asks
for many requests and carries the settlements of all that ended since. At most one call is under way. A granted block
is spread evenly over the time that the script names. Without Redis nothing is granted and settlements wait, summed up.
Called by ``limiter``; whose turn it is inside the process is ``waiters``, what fits is ``admit.lua``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiolimiter import AsyncLimiter
from redis.exceptions import RedisError

from bucketline import keys
from bucketline.catalog import Limits
from worker.trust import Trust
from worker.waiters import Waiter, Waiters

__all__ = ["BudgetExhausted", "Lane", "Office", "Permit"]

ASK_GAP_S = 0.01  #: calls to Redis are at least so far apart; requests that come meanwhile go together
SETTLE_GAP_S = 0.02
HEARTBEAT_S = 5.0  #: a lane with calls in flight says so at least this often; its lease is three times as long
PARK_S = 1.0
_CLUMP_S = 0.005  #: a block leaves in clumps at least so far apart, which saves timers
_BLOCK = 256


class BudgetExhausted(Exception):
    """A batch's budget cannot pay for the request, whatever the calls in flight turn out to cost."""


@dataclass(slots=True, eq=False)
class Permit:
    """The right to send one request. Given back once, by ``Gate.settle`` or ``Gate.release``; a second time is nothing."""

    lane: Lane
    batch_id: str
    slot: int  #: where the charge lies; -1 when nothing was charged
    input_tokens: int  #: as charged
    output_tokens: int  #: as charged
    nanousd: int
    likely_input: int
    likely_output: int
    open: bool = True


class Office(Protocol):
    """What a lane needs of its gate."""

    worker_id: str
    clock: Callable[[], float]
    draw: Callable[[], float]
    budgets: dict[str, int]

    def room(self) -> int: ...
    def reset_us(self, limits: Limits) -> int: ...
    def heard(self, now_us: int) -> None: ...
    async def configure(self, name: str, limits: Limits) -> bool: ...
    async def configure_budget(self, batch_id: str) -> None: ...
    def admission(self, *, keys: Sequence[str], args: Sequence[str]) -> Awaitable[list[Any]]: ...


@dataclass(slots=True)
class _Parcel:
    """Settlements on their way; kept until Redis has taken them, under one number so that they count once."""

    sequence: int
    slots: dict[int, list[int]]
    money: dict[str, int]


class Lane:
    """Waiters and calls in flight of one set of scopes."""

    def __init__(self, office: Office, index: int, scopes: Sequence[tuple[str, Limits]]) -> None:
        self.office = office
        self.scopes = tuple(scopes)
        self.member = f"{office.worker_id}|{index}"
        self.waiters = Waiters()
        self.holding = 0
        self.is_open: bool | None = None  #: True: no limit is known, nothing need be asked; None: not known yet
        self._holding_of: dict[str, int] = {}
        self._slots: dict[int, list[int]] = {}
        self._money: dict[str, int] = {}
        self._parcel: _Parcel | None = None
        self._sequence = 0
        self._input, self._output = Trust(), Trust()
        self._again_at = self._unpark_at = 0.0
        self._asked_at = -math.inf
        self._away_s = 0.0
        self._pause_s = 0.0
        self._want = 16
        self._wake = asyncio.Event()
        self._starved = False  #: waiters are here, but the process has no room for more calls
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    # ── called by the gate ────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"lane {self.scopes[-1][0]}")

    async def close(self, grace_s: float = 2.0) -> None:
        """Tell Redis what has ended, then stop; those who wait are not granted any more."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def push(self, waiter: Waiter) -> None:
        self.waiters.push(waiter)
        if len(self.waiters) == 1:
            self._wake.set()

    def permit_now(self, waiter_batch: str) -> Permit:
        """A permit of an open lane: nothing is charged, but the call counts as in flight should a limit come up."""
        self.holding += 1
        return Permit(self, waiter_batch, -1, 0, 0, 0, 0, 0)

    def give_back(self, permit: Permit, sent: bool) -> None:
        """Undo a permit's charges; a request that was sent may count with the provider though it was refused."""
        if permit.open:
            self._end(permit, 0 if sent else -1, -permit.input_tokens, 0, -permit.nanousd, 0)

    def settle(self, permit: Permit, input_tokens: int | None, output_tokens: int | None, nanousd: int | None) -> None:
        """Put the fact in the charge's place; None leaves the charge as it is."""
        if not permit.open:
            return
        if input_tokens is not None:
            self._input.learn(permit.likely_input, input_tokens)
        if output_tokens is not None:
            self._output.learn(permit.likely_output, output_tokens)
        known = output_tokens is not None
        self._end(
            permit,
            0,
            0 if input_tokens is None else input_tokens - permit.input_tokens,
            permit.output_tokens if output_tokens is None else output_tokens,
            0 if nanousd is None else nanousd - permit.nanousd,
            int(known),
        )

    def wake(self) -> None:
        self._again_at = 0.0
        self._wake.set()

    def _end(self, permit: Permit, requests: int, input_: int, output: int, nanousd: int, success: int) -> None:
        permit.open = False
        self.holding -= 1
        if permit.slot < 0:
            if self.is_open:
                return
            requests = input_ = output = 0
        if not self._slots or self._starved:
            self._wake.set()
        sums = self._slots.get(permit.slot)
        if sums is None:
            sums = self._slots[permit.slot] = [0, 0, 0, 0, 0]
        sums[0] += requests
        sums[1] += input_
        sums[2] += permit.output_tokens
        sums[3] += output
        sums[4] += success
        batch_id = permit.batch_id
        if batch_id in self._holding_of:
            self._holding_of[batch_id] -= 1
            self._money[batch_id] = self._money.get(batch_id, 0) + nanousd
            self._unpark_at = 0.0

    # ── the pump ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while True:
            await self._until_due()
            if self._closing:
                if self.is_open is not None:
                    await self._ask(last=True)
                return
            try:
                if self.is_open is None:
                    await self.refresh()
                    continue
                await self._ask()
                self._away_s = 0.0
            except (RedisError, OSError, TimeoutError):
                self._away_s = min(1.0, max(0.05, 2 * self._away_s))
                await asyncio.sleep(self._away_s)

    async def refresh(self) -> None:
        """Write our figures where they are missing, and learn whether any limit is in force."""
        limited = [await self.office.configure(name, limits) for name, limits in self.scopes]
        self.is_open = not any(limited)
        if self.is_open:
            self._open_up()
        self.wake()

    def _open_up(self) -> None:
        """No limit at all: everyone goes who has no budget to keep."""
        kept = []
        while block := self.waiters.take(_BLOCK):
            for waiter in block:
                if waiter.batch_id in self.office.budgets:
                    kept.append(waiter)
                elif not waiter.future.done():
                    waiter.future.set_result(self.permit_now(waiter.batch_id))
        for waiter in kept:
            self.waiters.push(waiter)

    def _due(self) -> float:
        """When the next call to Redis is due, on the gate's clock."""
        due = math.inf
        self._starved = len(self.waiters) > 0 and self.office.room() <= 0
        if len(self.waiters) and not self._starved:
            due = max(self._again_at, self._asked_at + ASK_GAP_S)
        if self.waiters.parked:
            due = min(due, max(self._unpark_at, self._asked_at + ASK_GAP_S))
        if self._slots or self._money or self._parcel is not None:
            due = min(due, self._asked_at + SETTLE_GAP_S)
        if self.holding or self._holding_of:
            due = min(due, self._asked_at + HEARTBEAT_S)
        return due

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closing:
            wait_s = self._due() - self.office.clock()
            if wait_s <= 0:
                return
            self._wake.clear()
            timer = loop.call_later(wait_s, self._wake.set) if wait_s < math.inf else None
            await self._wake.wait()
            if timer is not None:
                timer.cancel()

    async def _ask(self, last: bool = False) -> None:
        office = self.office
        asked_at = office.clock()
        if self.waiters.parked and asked_at >= self._unpark_at:
            self.waiters.unpark()
        block = [] if last else self.waiters.take(min(self._want, office.room()))
        parcel = self._parcel = self._parcel or self._collect()
        purses = self._purses(block, parcel)
        names = [name for name, _ in self.scopes] + [budget_scope(batch_id) for batch_id in purses]
        age_us = round((asked_at - self.waiters.oldest(block)) * 1e6) if block else 0
        header = (
            f"{parcel.sequence} {len(names)} {len(self.scopes)} {block[0].priority if block else 0} {max(0, age_us)}"
        )
        costs = [self._cost(waiter) for waiter in block]
        try:
            answer = await office.admission(
                keys=[key for name in names for key in scope_keys(name)],
                args=[
                    self.member,
                    str(len(self.waiters) + len(block)),
                    header,
                    self._spell_scopes(purses, parcel),
                    " ".join(f"{slot} {' '.join(map(str, sums))}" for slot, sums in parcel.slots.items()),
                    " ".join(
                        f"{cost[0]} {cost[1]} {waiter.nanousd} {purses.get(waiter.batch_id, 0)}"
                        for waiter, cost in zip(block, costs, strict=True)
                    ),
                ],
            )
        except BaseException:
            self.waiters.put_back(block)
            raise
        finally:
            self._asked_at = office.clock()
        if answer[0] == b"unknown":
            self.waiters.put_back(block)
            await self._write_figures(int(answer[1]), list(purses))
            return
        self._parcel = None
        for batch_id, held in list(self._holding_of.items()):
            if held == 0:
                del self._holding_of[batch_id]
        office.heard(int(answer[3]))
        await self._act(block, costs, answer)

    async def _write_figures(self, position: int, purses: list[str]) -> None:
        """Redis has lost, or never had, a scope's figures."""
        if position <= len(self.scopes):
            name, limits = self.scopes[position - 1]
            await self.office.configure(name, limits)
        else:
            await self.office.configure_budget(purses[position - 1 - len(self.scopes)])

    def _collect(self) -> _Parcel:
        self._sequence += 1
        parcel = _Parcel(self._sequence, self._slots, self._money)
        self._slots, self._money = {}, {}
        return parcel

    def _purses(self, block: Sequence[Waiter], parcel: _Parcel) -> dict[str, int]:
        """The batches with a budget that this call concerns → their scope's number in it."""
        if not self.office.budgets and not parcel.money and not self._holding_of:
            return {}
        batches = {waiter.batch_id: None for waiter in block if waiter.batch_id in self.office.budgets}
        batches.update(dict.fromkeys((*parcel.money, *self._holding_of)))
        return {batch_id: len(self.scopes) + n for n, batch_id in enumerate(batches, 1)}

    def _spell_scopes(self, purses: dict[str, int], parcel: _Parcel) -> str:
        words = [f"{self.holding} {self.office.reset_us(limits)} 0" for _, limits in self.scopes]
        words += [
            f"{self._holding_of.get(batch_id, 0)} 9007199254740991 {parcel.money.get(batch_id, 0)}"
            for batch_id in purses
        ]
        return " ".join(words)

    def _cost(self, waiter: Waiter) -> tuple[int, int]:
        return (
            math.ceil(waiter.input_tokens * self._input.factor),
            math.ceil(waiter.output_tokens * self._output.factor),
        )

    async def _act(self, block: list[Waiter], costs: list[tuple[int, int]], answer: list[Any]) -> None:
        verdicts = answer[0].decode()
        again_us, slot, reason = int(answer[2]), int(answer[4]), answer[5].decode()
        going: list[tuple[Waiter, Permit]] = []
        for waiter, cost, verdict in zip(block, costs, verdicts, strict=False):
            if verdict == "g":
                going.append((waiter, self._permit(waiter, cost, slot)))
            elif verdict == "b":
                self.waiters.park(waiter)
                self._unpark_at = self._asked_at + PARK_S
            elif not waiter.future.done():
                waiter.future.set_exception(BudgetExhausted(waiter.batch_id))
        self.waiters.put_back(block[len(verdicts) :])
        self._want = min(_BLOCK, max(16, 2 * len(going)))
        self._again_at = self._asked_at + max(0, again_us) / 1e6 + self._jitter_s(reason, again_us / 1e6)
        await self._hand_out(going, int(answer[1]) / 1e6)

    def _jitter_s(self, reason: str, left_s: float) -> float:
        """After a pause the lanes of the fleet come back at different times: up to a tenth of the pause later."""
        if reason != "paused":
            self._pause_s = 0.0
            return 0.0
        self._pause_s += left_s
        return self.office.draw() * min(0.1 * self._pause_s, 5.0) if left_s < 1.0 else 0.0

    def _permit(self, waiter: Waiter, cost: tuple[int, int], slot: int) -> Permit:
        self.holding += 1
        if waiter.batch_id in self.office.budgets:
            self._holding_of[waiter.batch_id] = self._holding_of.get(waiter.batch_id, 0) + 1
        return Permit(
            self, waiter.batch_id, slot, cost[0], cost[1], waiter.nanousd, waiter.input_tokens, waiter.output_tokens
        )

    async def _hand_out(self, going: list[tuple[Waiter, Permit]], over_s: float) -> None:
        """Let a granted block go, evenly over its time; who was cancelled meanwhile gives the permit back."""
        clumps = max(1, min(len(going), math.ceil(over_s / _CLUMP_S)))
        pace = AsyncLimiter(1, max(over_s, 1e-6) / clumps)
        size = -(-len(going) // clumps)
        done = 0
        try:
            for start in range(0, len(going), size or 1):
                if clumps > 1:
                    await pace.acquire()
                for waiter, permit in going[start : start + size]:
                    done += 1
                    if waiter.future.done():
                        self.give_back(permit, sent=False)
                    else:
                        waiter.future.set_result(permit)
        finally:
            for _, permit in going[done:]:
                self.give_back(permit, sent=False)


def budget_scope(batch_id: str) -> str:
    """The scope under which a batch's budget is kept."""
    return f"~{batch_id}"


def scope_keys(name: str) -> tuple[str, str, str, str]:
    """The keys of one scope, in the order of ``admit.lua``."""
    return keys.limit_figures(name), keys.gate_state(name), keys.gate_line(name), keys.gate_leases(name)
