"""A granted block leaves evenly over its time, not as a burst.

Comes in: waiters with their permits, and the time that the script names. Goes out: results of their futures; who was
cancelled meanwhile gives the permit back. Called by ``lane``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from aiolimiter import AsyncLimiter

from worker.limiter.permits import Permit
from worker.limiter.waiters import Waiter

__all__ = ["hand_out"]

_CLUMP_S = 0.02  #: a block leaves in clumps at least so far apart, which saves timers


async def hand_out(going: Sequence[tuple[Waiter, Permit]], over_s: float, give_back: Callable[[Permit], None]) -> None:
    """Let all go, in order; those whom a cancellation of the lane catches give their permits back too."""
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
                    give_back(permit)
                else:
                    waiter.future.set_result(permit)
    finally:
        for _, permit in going[done:]:
            give_back(permit)
