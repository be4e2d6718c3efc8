"""What a lane has given out, and what came back: the calls in flight, and the settlements that Redis has yet to take.

Comes in: grants, and how their calls ended. Goes out: permits, and parcels of settlements summed up by slot, so that
their size does not grow with the calls while Redis is away. Every permit ends once, whoever ends it. Called by
``lane`` and ``gate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from worker.limiter.trust import Trust
from worker.limiter.waiters import Waiter

__all__ = ["Books", "Parcel", "Permit"]

_ALL_AT_FIRST = 64  #: settlements that all are learnt from
_THEN_EVERY = 4  #: a sample shows as much, at a quarter of the cost


@dataclass(slots=True, eq=False)
class Permit:
    """The right to send one request. Ended once, by ``Gate.settle`` or ``Gate.release``; a second time is nothing."""

    books: Books
    batch_id: str
    slot: int  #: where the charge lies; -1 when nothing was charged
    input_tokens: int  #: as charged
    output_tokens: int  #: as charged
    nanousd: int
    likely_input: int
    likely_output: int
    flying: bool = True  #: counts as in flight; not yet, where it was granted ahead of its place
    open: bool = True


@dataclass(slots=True)
class Parcel:
    """Settlements on their way; kept until Redis has taken them, under one number so that they count once."""

    sequence: int
    slots: dict[int, list[int]]  #: slot → requests, input (differences), output charged, output used, successes
    money: dict[str, int]  #: batch → nanodollars (differences)

    def spell(self) -> str:
        """As ``admit.lua`` reads it."""
        return " ".join([f"{slot} {' '.join(map(str, sums))}" for slot, sums in self.slots.items()])


class Books:
    """The permits of one lane. ``changed`` is called when something waits for Redis that did not before."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.holding = 0  #: calls in flight
        self.ended = 0  #: calls that were in flight, since somebody set this to 0
        self.holding_of: dict[str, int] = {}  #: the same by batch, for batches with a budget
        self.parcel: Parcel | None = None  #: on its way
        self._changed = changed
        self.landed: Callable[[], None] = _nothing  #: called after each call in flight that ends
        self._slots: dict[int, list[int]] = {}
        self._money: dict[str, int] = {}
        self._sequence = self._settled = 0
        self._input, self._output = Trust(), Trust()

    @property
    def unsettled(self) -> bool:
        return bool(self._slots) or self.parcel is not None

    @property
    def sums(self) -> int:
        """How many sums wait for Redis."""
        return len(self._slots) + len(self._money)

    def cost(self, waiter: Waiter) -> tuple[int, int]:
        """The input and output tokens to charge: the estimate, as far as estimates are to be trusted here."""
        return (
            math.ceil(waiter.input_tokens * self._input.factor),
            math.ceil(waiter.output_tokens * self._output.factor),
        )

    def permit(
        self, waiter: Waiter, cost: tuple[int, int], slot: int, *, budgeted: bool, ahead: bool = False
    ) -> Permit:
        """A permit that Redis has granted; ``ahead`` of its place, which it gets by ``fly``."""
        if not ahead:
            self.holding += 1
        if budgeted:
            self.holding_of[waiter.batch_id] = self.holding_of.get(waiter.batch_id, 0) + 1
        likely = waiter.input_tokens, waiter.output_tokens
        return Permit(self, waiter.batch_id, slot, *cost, waiter.nanousd, *likely, not ahead)

    def fly(self, permit: Permit) -> None:
        """A permit that was granted ahead has its place now."""
        permit.flying = True
        self.holding += 1

    def permit_unasked(self, batch_id: str) -> Permit:
        """A permit of a lane without limits: nothing is charged, but the call counts should a limit come up."""
        self.holding += 1
        return Permit(self, batch_id, -1, 0, 0, 0, 0, 0)

    def give_back(self, permit: Permit, sent: bool) -> None:
        """Undo a permit's charges; a request that was sent may count with the provider though it was refused."""
        if permit.open:
            self._end(permit, 0 if sent else -1, -permit.input_tokens, 0, -permit.nanousd, 0)

    def settle(self, permit: Permit, input_tokens: int | None, output_tokens: int | None, nanousd: int | None) -> None:
        """Put the fact in the charge's place; None leaves the charge as it is."""
        if not permit.open:
            return
        known = output_tokens is not None
        self._settled += 1
        learns = self._settled <= _ALL_AT_FIRST or not self._settled % _THEN_EVERY
        if input_tokens is None:
            input_tokens = permit.input_tokens
        elif learns:
            self._input.learn(permit.likely_input, input_tokens)
        if output_tokens is None:
            output_tokens = permit.output_tokens
        elif learns:
            self._output.learn(permit.likely_output, output_tokens)
        money = 0 if nanousd is None else nanousd - permit.nanousd
        self._end(permit, 0, input_tokens - permit.input_tokens, output_tokens, money, int(known))

    def collect(self) -> Parcel:
        """What goes with the next call to Redis: the parcel that did not arrive, else all since the last one."""
        if self.parcel is None:
            self._sequence += 1
            self.parcel = Parcel(self._sequence, self._slots, self._money)
            self._slots, self._money = {}, {}
        return self.parcel

    def arrived(self) -> None:
        """Redis has taken the parcel."""
        self.parcel = None
        for batch_id, held in list(self.holding_of.items()):
            if held == 0 and batch_id not in self._money:
                del self.holding_of[batch_id]

    def purses(self, parcel: Parcel, batches: Iterable[str]) -> list[str]:
        """The batches whose budgets a call concerns: those that ask, those with calls in flight, those to settle."""
        return list(dict.fromkeys((*batches, *parcel.money, *self.holding_of)))

    def _end(self, permit: Permit, requests: int, input_: int, output: int, nanousd: int, success: int) -> None:
        permit.open = False
        first = not self._slots
        sums = self._slots.get(permit.slot)
        if sums is None:
            sums = self._slots[permit.slot] = [0, 0, 0, 0, 0]
        if permit.slot >= 0:
            sums[0] += requests
            sums[1] += input_
            sums[2] += permit.output_tokens
            sums[3] += output
        sums[4] += success
        batch_id = permit.batch_id
        if batch_id in self.holding_of:
            self.holding_of[batch_id] -= 1
            self._money[batch_id] = self._money.get(batch_id, 0) + nanousd
        if first:
            self._changed()
        if permit.flying:
            self.holding -= 1
            self.ended += 1
            self.landed()


def _nothing() -> None:
    pass
