"""Gates in this process, on a real server: what tests of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bucketline.catalog import Limits
from worker.limiter import Demand, Gate, Permit

__all__ = ["SOON_S", "Where", "granted", "scopes", "soon"]

Where = tuple[tuple[str, Limits], ...]
SOON_S = 5.0  #: a deadline for what comes within milliseconds; never slept through


def scopes(name: str = "alpha", **figures: int) -> Where:
    return ((name, Limits(**figures)),)  # type: ignore[arg-type]


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.005)


async def granted(gate: Gate, where: Where, count: int, **options: object) -> list[Permit]:
    async with asyncio.timeout(SOON_S):
        return list(await asyncio.gather(*(gate.admit(where, Demand(10, 10), **options) for _ in range(count))))  # type: ignore[arg-type]
