"""Who goes the moment a call of the same lane ends: granted ahead of a place, with all charged but the call in flight.

Comes in: grants ahead, and calls that end. Goes out: permits, without a way to Redis in between, so that no place stands
empty while short calls come and go. What Redis counts as in flight here is never passed: one goes only where another has
ended. A charge lies in the window of its moment, so nobody stands by for long: who was not needed goes back to the line
and is given back what was charged. Called by ``lane``; whose turn it is in the fleet is ``admit.lua``'s affair.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from worker.limiter.permits import Books, Permit
from worker.limiter.waiters import Waiter

__all__ = ["Standby"]

_LIFE_S = 0.2  #: less than the margin of the script's window
_COVER_S = 0.1  #: ends of calls to provide for: some gaps between two calls to Redis
_SMOOTH_S = 0.5
_WORTH = 2.0  #: calls that end in a lifetime; where fewer do, a way to Redis costs next to nothing


class Standby:
    """The requests of one lane that stand by, in order."""

    def __init__(self, books: Books, clock: Callable[[], float]) -> None:
        self.places = 0  #: calls in flight that Redis counts for this lane, at least
        self._books = books
        self._clock = clock
        self._line: deque[tuple[Waiter, Permit, float]] = deque()
        self._ends_a_s = 0.0  #: calls that end each second
        self._looked_at = -math.inf
        books.landed = self.hand_on

    def __len__(self) -> int:
        return len(self._line)

    def due(self) -> float:
        """When the first has stood by for too long."""
        return self._line[0][2] if self._line else math.inf

    def wanted(self, now: float) -> int:
        """How many more should stand by, by the calls that ended lately."""
        elapsed_s = now - self._looked_at
        ended, self._books.ended = self._books.ended, 0
        self._looked_at = now
        if elapsed_s > 0:
            self._ends_a_s += (ended / elapsed_s - self._ends_a_s) * min(1.0, elapsed_s / _SMOOTH_S)
        if self._ends_a_s * _LIFE_S < _WORTH:
            return 0
        return max(0, math.ceil(self._ends_a_s * _COVER_S) - len(self._line))

    def push(self, waiter: Waiter, permit: Permit) -> None:
        """One more was granted ahead; its permit does not count as in flight yet."""
        self._line.append((waiter, permit, self._clock() + _LIFE_S))

    def hand_on(self) -> None:
        """A call has ended: the first that stands by has its place."""
        while self._line and self._books.holding < self.places and self._line[0][2] > self._clock():
            waiter, permit, _ = self._line.popleft()
            if waiter.future.done():
                self._books.give_back(permit, sent=False)
            else:
                self._books.fly(permit)
                waiter.future.set_result(permit)

    def take_back(self, now: float = math.inf) -> list[Waiter]:
        """Those who have stood by for too long by then, or all; they wait again, and nothing of them counts."""
        back = []
        while self._line and self._line[0][2] <= now:
            waiter, permit, _ = self._line.popleft()
            self._books.give_back(permit, sent=False)
            back.append(waiter)
        return back
