"""Who waits in one lane of one process, and whose turn it is.

Comes in: requests that want a permit. Goes out: blocks of them in order: the higher priority first, inside a priority
one from each batch in turn, inside a batch first come first served, so that a few lines behind a million of another
batch start soon. Knows no limits and no Redis. Called by ``lane``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.limiter.permits import Permit

__all__ = ["Waiter", "Waiters"]


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits: what it will likely use, and the future that its permit goes to."""

    future: asyncio.Future[Permit]
    input_tokens: int
    output_tokens: int
    nanousd: int
    batch_id: str
    priority: int
    since: float  #: on the gate's clock, seconds
    queued: bool = False  #: stands in line; not while it is asked for, or set aside


class _Band:
    """The batches of one priority; the leftmost has the turn."""

    __slots__ = ("batches", "turns")

    def __init__(self) -> None:
        self.batches: dict[str, deque[Waiter]] = {}
        self.turns: deque[str] = deque()


class Waiters:
    """All who wait in one lane. A cancelled waiter is passed over when its turn comes."""

    __slots__ = ("_bands", "_live", "_parked")

    def __init__(self) -> None:
        self._bands: dict[int, _Band] = {}
        self._live = 0
        self._parked: list[Waiter] = []

    def __len__(self) -> int:
        return self._live

    @property
    def parked(self) -> int:
        return len(self._parked)

    def push(self, waiter: Waiter) -> None:
        band = self._bands.get(waiter.priority)
        if band is None:
            band = self._bands[waiter.priority] = _Band()
        batch = band.batches.get(waiter.batch_id)
        if batch is None:
            batch = band.batches[waiter.batch_id] = deque()
            band.turns.append(waiter.batch_id)
        batch.append(waiter)
        waiter.queued = True
        self._live += 1

    def cancelled(self, waiter: Waiter) -> None:
        """The waiter's future was cancelled; it is passed over later."""
        if waiter.queued:
            waiter.queued = False
            self._live -= 1

    def take(self, most: int) -> list[Waiter]:
        """Up to ``most`` waiters of the highest priority there is, in order; they are out until put back."""
        block: list[Waiter] = []
        while self._bands and not block and most > 0:
            priority = max(self._bands)
            band = self._bands[priority]
            while band.turns and len(block) < most:
                self._take_turn(band, block)
            if not band.turns:
                del self._bands[priority]
        self._live -= len(block)
        return block

    def oldest(self, block: Sequence[Waiter]) -> float:
        """Since when the longest of a block, and of those left behind it in its priority, has been waiting."""
        since = min(waiter.since for waiter in block)
        band = self._bands.get(block[0].priority)
        if band is not None:
            since = min(since, *(batch[0].since for batch in band.batches.values()))
        return since

    def first(self) -> Waiter | None:
        """Who has the next turn; for display."""
        if not self._bands:
            return None
        band = self._bands[max(self._bands)]
        return next((w for batch_id in band.turns for w in band.batches[batch_id] if w.queued), None)

    def put_back(self, block: Sequence[Waiter]) -> None:
        """Those who did not go stand first again, in the order in which they stood."""
        for waiter in reversed(block):
            if waiter.future.done():
                continue
            band = self._bands.get(waiter.priority)
            if band is None:
                band = self._bands[waiter.priority] = _Band()
            batch = band.batches.get(waiter.batch_id)
            if batch is None:
                batch = band.batches[waiter.batch_id] = deque()
                band.turns.appendleft(waiter.batch_id)
            elif band.turns[0] != waiter.batch_id:
                band.turns.remove(waiter.batch_id)
                band.turns.appendleft(waiter.batch_id)
            batch.appendleft(waiter)
            waiter.queued = True
            self._live += 1

    def park(self, waiter: Waiter) -> None:
        """Set aside a waiter whose batch's money is reserved by calls in flight; others pass meanwhile."""
        self._parked.append(waiter)

    def unpark(self) -> None:
        """All that were set aside wait again, first in their batches."""
        parked, self._parked = self._parked, []
        self.put_back(parked)

    @staticmethod
    def _take_turn(band: _Band, block: list[Waiter]) -> None:
        batch_id = band.turns.popleft()
        batch = band.batches[batch_id]
        while batch:
            waiter = batch.popleft()
            if waiter.queued:
                waiter.queued = False
                block.append(waiter)
                break
        if batch:
            band.turns.append(batch_id)
        else:
            del band.batches[batch_id]
