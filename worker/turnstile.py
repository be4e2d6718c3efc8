"""How many calls one process may have in flight, shared fairly between batches.

Comes in: lines that have their permit and want to be sent. Goes out: they pass one by one, the higher priority first,
and inside a priority one from each batch in turn, so that a few lines behind thousands of another batch pass at once.
Nobody passes while it is held, which it is where memory is full of answers that Redis or the store do not take, nor while
the process's leases may have run out: another may have its lines by then. ``soon`` tells the gate for how many lines
permits are worth asking for. Knows nothing of providers; the fleet's limits are the gate's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

__all__ = ["Turnstile"]

_AHEAD_S = 0.07  #: from the wish for permits until they are here: the gap between two calls to Redis, and the call
_LOOK_S = 0.05  #: ends of calls are counted over at least so long
_SMOOTH_S = 0.5


class Turnstile:
    """A semaphore whose waiters take turns by batch."""

    def __init__(self, places: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.places = places
        self.free = places
        self.held = False
        self.leased: Callable[[], bool] = lambda: True
        self.opened: Callable[[], None] = lambda: None  #: called when more may pass soon than before
        self._bands: dict[int, dict[str, deque[asyncio.Future[None]]]] = {}
        self._waiting = 0
        self._monotonic = monotonic
        self._ended = 0  #: calls, since the last look
        self._looked_s = monotonic()
        self._ends_a_s = 0.0

    @property
    def in_flight(self) -> int:
        return self.places - self.free

    @property
    def room(self) -> int:
        """How many calls may leave at the moment."""
        return self.free if not self.held and self.leased() else 0

    def soon(self) -> int:
        """How many lines may pass by the time that permits asked for now are here, beside those that have theirs.

        Into the places that are free, and into those of the calls that end meanwhile, as many as ended lately: else each
        place would stand empty from the end of its call until the next permits come.
        """
        return max(0, self.free + math.ceil(self.ends_a_s() * _AHEAD_S) - self._waiting)

    def ends_a_s(self) -> float:
        """Calls that end each second, lately."""
        now_s = self._monotonic()
        elapsed_s = now_s - self._looked_s
        if elapsed_s >= _LOOK_S:
            self._ends_a_s += (self._ended / elapsed_s - self._ends_a_s) * min(1.0, elapsed_s / _SMOOTH_S)
            self._ended, self._looked_s = 0, now_s
        return self._ends_a_s

    def hold(self, held: bool) -> None:
        """Let nobody pass, or all that there is room for again."""
        self.held = held
        self.look()

    def look(self) -> None:
        """Let pass who may pass by now."""
        self._pass_on()
        self.opened()

    def try_enter(self) -> bool:
        """Take a place where one is free and nobody waits for it."""
        if self._bands or self.room <= 0:
            return False
        self.free -= 1
        return True

    async def enter(self, batch_id: str, priority: int) -> None:
        """Wait for a place; holds nothing until it returns, and gives it back when cancelled on the way."""
        if self.try_enter():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bands.setdefault(priority, {}).setdefault(batch_id, deque()).append(waiter)
        self._waiting += 1
        self._pass_on()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back; the next waiter has it at once."""
        self.free += 1
        self._ended += 1
        if self._bands:
            self._pass_on()
        self.opened()

    def _pass_on(self) -> None:
        while self.room > 0 and (waiter := self._next()) is not None:
            if not waiter.done():
                waiter.set_result(None)
                self.free -= 1

    def _next(self) -> asyncio.Future[None] | None:
        """The waiter whose turn it is; its batch goes to the end of its band."""
        if not self._bands:
            return None
        priority = max(self._bands)
        band = self._bands[priority]
        batch_id, waiters = next(iter(band.items()))
        waiter = waiters.popleft()
        self._waiting -= 1
        del band[batch_id]
        if waiters:
            band[batch_id] = waiters
        elif not band:
            del self._bands[priority]
        return waiter
