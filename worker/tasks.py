"""How background tasks end, and how a step is given up.

Comes in: tasks that run for ever. Goes out: they have ended. One request to cancel is not enough: a client library may
take it for its own time-out and go on, so it is repeated until the task is done. ``unless`` runs a step until an event,
``pause`` waits until one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["Stopped", "end_tasks", "pause", "unless"]

T = TypeVar("T")

_AGAIN_S = 0.2


async def end_tasks(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel tasks until they have ended; what they raise is of no interest any more."""
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)


class Stopped(Exception):
    """The event came before the step was done."""


async def unless(event: asyncio.Event, step: Awaitable[T]) -> T:
    """A step's result. Raises Stopped when the event comes first; the step is cancelled then."""
    task = asyncio.ensure_future(step)
    stop = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Stopped
    finally:
        stop.cancel()
        await end_tasks(task)


async def pause(seconds: float, event: asyncio.Event) -> None:
    """Wait for so long, or until the event comes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
