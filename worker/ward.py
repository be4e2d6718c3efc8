"""Isolation: a line that kills its worker is found, and its neighbours finish.

Comes in: a shard whose claims keep ending without end or hand-back, and the weight of the deaths at which its lines were in
hand. Goes out: which lines are condemned, and in which groups the others are tried: each group is noted in Redis before it
is begun and taken back when it has its outcomes, so a death leaves its trace. Suspects go one by one, before the rest.
In one process only one group at a time is in hand, lest a neighbouring shard's line be blamed. ``plan`` is pure. Called by
``shard``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["CONDEMNED", "POISON", "STRIKES", "Group", "Ward", "plan"]

POISON = "Its workers died several times with this line in hand; it was set apart and is not tried again."
STRIKES = 2  #: so many claims may end in a death before the shard is worked off in isolation
CONDEMNED = 6  #: a death in a large group, one in a small one, and two with the line alone in hand
_ALONE, _AMONG = 2, 1  #: how much a death weighs
_SIZES = (64, 8)  #: how many lines go together that have no such death against them, or one; more: alone
_TURN_S = 60.0  #: a group that takes longer, perhaps since its route is closed, holds up no other


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that are in hand together, and how much a death would weigh against each."""

    lines: tuple[int, ...]
    weight: int


def plan(lines: Sequence[int], weights: Mapping[int, int]) -> tuple[list[int], list[Group]]:
    """The condemned lines, and the groups of the others in the order in which they are tried: the most suspect first.

    >>> plan([1, 2, 3, 4], {2: 1, 3: 6, 4: 2})
    ([3], [Group(lines=(4,), weight=2), Group(lines=(2,), weight=1), Group(lines=(1,), weight=1)])
    """
    condemned = [line for line in lines if weights.get(line, 0) >= CONDEMNED]
    alone = [line for line in lines if len(_SIZES) <= weights.get(line, 0) < CONDEMNED]
    groups = [Group((line,), _ALONE) for line in alone]
    for weight in reversed(range(len(_SIZES))):
        some = [line for line in lines if weights.get(line, 0) == weight]
        size = _SIZES[weight]
        groups += [Group(tuple(some[at : at + size]), _AMONG) for at in range(0, len(some), size)]
    return condemned, groups


class Ward:
    """One group at a time; a slow one does not hold the others up for ever."""

    def __init__(self, turn_s: float = _TURN_S) -> None:
        self._lock = asyncio.Lock()
        self._turn_s = turn_s

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        mine = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._turn_s):
                mine = await self._lock.acquire()
        try:
            yield
        finally:
            if mine:
                self._lock.release()
