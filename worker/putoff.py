"""Shards that this process gave back because something is away: not taken up again at once.

Comes in: the jobs that were put off, and those that went well. Goes out: the names that must wait, each longer the more often
it was put off in a row. Other processes may take them up meanwhile: what is away may be away only here. Called by ``service``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["PutOff"]

_FIRST_S, _MOST_S = 0.5, 30.0
_KEPT = 10_000


class PutOff:
    """Job names and until when they wait, on the monotonic clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[str, tuple[float, float]] = {}  #: name → (until, how long)

    def add(self, name: str) -> None:
        _, before_s = self._until.pop(name, (0.0, 0.0))
        wait_s = min(_MOST_S, max(_FIRST_S, 2 * before_s))
        self._until[name] = (self._monotonic() + wait_s, wait_s)
        if len(self._until) > _KEPT:
            self._until.pop(next(iter(self._until)))

    def forget(self, name: str) -> None:
        self._until.pop(name, None)

    def names(self) -> set[str]:
        """Those that must wait still."""
        now_s = self._monotonic()
        return {name for name, (until_s, _) in self._until.items() if until_s > now_s}
