"""A sliding window that is exact: a log of what was let in, not a bucket that fills up again.

In: amounts with the time they were let in, whole nanoseconds. Out: whether one more fits, how long until it does,
and the most that any window held. ``limits`` keeps one for each limit; nobody else calls it.
An amount let in at ``t`` counts in every window that ends in [t, t + length); a window is half open, as a minute is.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Window"]


class Window:
    """What was let in during the last ``length_ns``; costs O(1) for each amount, memory for one window."""

    __slots__ = ("_length_ns", "_log", "peak", "used")

    def __init__(self, length_ns: int) -> None:
        if length_ns <= 0:
            raise ValueError("A window has a length above zero.")
        self._length_ns = length_ns
        self._log: deque[tuple[int, int]] = deque()
        self.used = 0  #: amount inside the window, as of the last call
        self.peak = 0  #: the most that any window ever held

    def slide(self, now_ns: int) -> int:
        """Forget what has left the window that ends now; returns what is still inside."""
        log, oldest = self._log, now_ns - self._length_ns
        while log and log[0][0] <= oldest:
            self.used -= log.popleft()[1]
        return self.used

    def add(self, now_ns: int, amount: int) -> None:
        """Let an amount in, whether it fits or not. Times must not fall."""
        self.slide(now_ns)
        if amount:
            self._log.append((now_ns, amount))
            self.used += amount
            self.peak = max(self.peak, self.used)

    def wait_ns(self, now_ns: int, amount: int, limit: int) -> int | None:
        """Nanoseconds until the amount fits if nothing else comes; 0 if it fits now, None if it never will."""
        if amount > limit:
            return None
        excess = self.slide(now_ns) + amount - limit
        if excess <= 0:
            return 0
        for at_ns, gone in self._log:
            excess -= gone
            if excess <= 0:
                return at_ns + self._length_ns - now_ns
        raise AssertionError("An amount within the limit fits into an empty window.")

    def empty_in_ns(self, now_ns: int) -> int:
        """Nanoseconds until the window is empty if nothing else comes."""
        self.slide(now_ns)
        return self._log[-1][0] + self._length_ns - now_ns if self._log else 0
