"""How background tasks end.

Comes in: tasks that run for ever. Goes out: they have ended. One request to cancel is not enough: a client library may
take it for its own time-out and go on, so it is repeated until the task is done.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["end_tasks"]

_AGAIN_S = 0.2


async def end_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they have ended; what they raise is of no interest any more."""
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)
