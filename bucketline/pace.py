"""How fast a batch goes and how long it has left: from what was observed, and from what the limits let through.

Comes in: counts of finished lines with their times, and bounds that limits set. Goes out: lines per second over the last
seconds, and the time left. A burst says little about an hour under a limit per minute, and an average of yesterday little
about now: so the rate is that of the last seconds, and no limit is ever beaten by it. Pure; called by the bar, ``status`` and
the monitor.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Bound", "Pace", "time_left_s"]

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Bound:
    """What one limit lets through: ``per_s`` units a second, or ``per_day`` of them; a line uses ``each``."""

    each: float
    per_s: float | None = None
    per_day: float | None = None
    left_today: float = 0.0
    resets_in_s: float = 0.0

    def least_s(self, lines: float) -> float:
        """The least time in which so many lines get through."""
        need = lines * self.each
        if self.per_s:
            return need / self.per_s
        if not self.per_day or need <= self.left_today:
            return 0.0
        rest = need - self.left_today
        whole_days = math.ceil(rest / self.per_day) - 1
        return self.resets_in_s + whole_days * _DAY_S


class Pace:
    """Lines per second as observed over the last ``over_s`` seconds."""

    def __init__(self, over_s: float = 10.0) -> None:
        self._over_s = over_s
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, done: int) -> None:
        self._seen.append((now_s, done))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= self._over_s:
            self._seen.popleft()

    @property
    def lines_per_s(self) -> float:
        """0.0 until two samples differ in time."""
        if len(self._seen) < 2:
            return 0.0
        (since_s, before), (now_s, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now_s - since_s) if now_s > since_s else 0.0

    def left_s(self, total: int) -> float | None:
        """Seconds until ``total`` lines are done; None while nothing moves."""
        left = total - self._seen[-1][1] if self._seen else total
        return time_left_s(left, self.lines_per_s)


def time_left_s(lines: int, lines_per_s: float, bounds: Iterable[Bound] = (), *, wait_s: float = 0.0) -> float | None:
    """Seconds until so many lines are done, after a wait that is known; None where nothing tells.

    >>> time_left_s(600, 100.0, [Bound(each=1, per_s=10)])
    60.0
    """
    if lines <= 0:
        return 0.0
    slowest = max((bound.least_s(lines) for bound in bounds), default=0.0)
    if lines_per_s > 0:
        return max(wait_s, slowest, lines / lines_per_s)
    return wait_s + slowest if wait_s > 0 else None
