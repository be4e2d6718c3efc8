"""Which routes may be used: the breaker and the operator's pause, shared by the fleet.

Comes in: what each call showed about its route. Goes out: whether a route is open, and a wait until it is. Called by
``dispatch``; the rules which failures count are the rows of ``bucketline.failure``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from bucketline.failure import Effect, Failure

__all__ = ["Health"]


@dataclass(slots=True)
class _State:
    closed_by: str | None = None
    opened: asyncio.Event = field(default_factory=asyncio.Event)


class Health:
    """The routes' states as this process knows them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._routes: dict[str, _State] = {}

    def is_open(self, route: str) -> bool:
        state = self._routes.get(route)
        return state is None or state.closed_by is None

    def reason(self, route: str) -> str | None:
        state = self._routes.get(route)
        return None if state is None else state.closed_by

    async def reopened(self, route: str) -> None:
        """Wait until an operator or a re-check has opened the route."""
        state = self._routes.get(route)
        if state is not None and state.closed_by is not None:
            await state.opened.wait()

    def saw(self, route: str, failure: Failure | None) -> None:
        """Note what a call showed."""
        if failure is not None and failure.row.effect is Effect.CLOSE:
            state = self._routes.setdefault(route, _State())
            state.closed_by = failure.kind
            state.opened.clear()

    def open(self, route: str) -> None:
        state = self._routes.get(route)
        if state is not None:
            state.closed_by = None
            state.opened.set()
