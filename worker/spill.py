"""Overflow: a line that would wait too long for a permit may stand in the next route's line as well.

Comes in: how long to be patient, and a way to wait for a permit on each route. Goes out: the first permit that is
granted, and whose; what else was granted meanwhile is given back. A line keeps its place at the first route while it
waits at the next, so patience is never punished. Called by ``dispatch``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from bucketline.catalog import Plan

__all__ = ["first_granted", "patience_s"]

Permit = TypeVar("Permit")

_A_MOMENT_S = 0.2


def patience_s(plan: Plan, time_left_s: float | None) -> float | None:
    """How long a line waits at one route only; None: as long as it takes.

    With ``spill`` the plan says so. Near the deadline, which is ``spill_after_s`` away from it or less, patience ends in
    any case; but a route that has room is given the moment that its permit takes.
    """
    near_s = None if time_left_s is None else max(_A_MOMENT_S, time_left_s - plan.spill_after_s)
    if not plan.spill:
        return near_s
    return plan.spill_after_s if near_s is None else min(plan.spill_after_s, near_s)


async def first_granted(
    waits: Sequence[Callable[[], Awaitable[Permit]]], patience_s: float, give_back: Callable[[Permit], None]
) -> tuple[int, Permit]:
    """Wait for the first, after a while also for the next, and so on; the position and the permit of the quickest.

    Raises what a wait raised, once no other can be granted.
    """
    tasks: list[asyncio.Future[Permit]] = []
    winner: asyncio.Future[Permit] | None = None
    try:
        while winner is None:
            if len(tasks) < len(waits):
                tasks.append(asyncio.ensure_future(waits[len(tasks)]()))
            running = [task for task in tasks if not task.done()]
            if not running:
                return 0, tasks[0].result()  # all have failed: the first one's error speaks
            patience = patience_s if len(tasks) < len(waits) else None
            done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in tasks if task in done and _granted(task)), None)
        return tasks.index(winner), winner.result()
    finally:
        for task in tasks:
            if task is not winner:
                task.cancel()
                task.add_done_callback(lambda ended: give_back(ended.result()) if _granted(ended) else None)


def _granted(task: asyncio.Future[Permit]) -> bool:
    """Whether a permit came; an error is looked at, so that nobody complains of it later."""
    return not task.cancelled() and task.exception() is None
