"""A loop whose clock jumps over the time in which nothing happens: half an hour passes in a second, sockets and all.

In: a coroutine. Out: its result. Every timer of the loop, of asyncio's and aiohttp's timeouts and of the test's own
servers, runs by the loop's clock; when no socket has anything to say, the clock goes on to the next timer at once. So
figures in seconds can be the true ones, and no test depends on how fast a machine is. What runs in threads is not seen.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_skipping"]

T = TypeVar("T")

_LOOK_S = 0.001  #: real time in which bytes under way inside this machine's kernel arrive


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Looks at the sockets, and tells the clock how far the loop meant to wait where they are all quiet."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)  # type: ignore[no-any-return]
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(min(max(timeout, 0.0), _LOOK_S))
        if not ready and timeout > _LOOK_S:
            self.skipped_s += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped_s


def run_skipping(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on such a loop."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
