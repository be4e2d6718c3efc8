"""How long a store is waited for, over and above what the SDK tries by itself.

Comes in: how often and how long it has failed already. Goes out: the next pause, or None for giving up. Full jitter
(AWS Architecture Blog, "Exponential Backoff and Jitter"): the pause is anywhere between nothing and a ceiling that
doubles, so a fleet that was thrown out together does not come back together. Clock, sleep and dice are arguments.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

__all__ = ["Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """``total_s`` for a store that has answered before; ``first_s`` for one that never has: a wrong address."""

    total_s: float = 300.0
    first_s: float = 10.0
    base_s: float = 0.2
    most_s: float = 15.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    dice: Callable[[], float] = random.random

    def pause_s(self, failures: int, spent_s: float, *, reached: bool) -> float | None:
        """The pause after so many failures and so much time, or None when it would go beyond the patience."""
        pause = self.dice() * min(self.most_s, self.base_s * 2 ** min(failures, 32))
        return pause if spent_s + pause <= (self.total_s if reached else self.first_s) else None

    def none(self) -> Patience:
        """Say at once what is wrong."""
        return replace(self, total_s=-1.0, first_s=-1.0)
