"""Who stands by for the next free place of a lane: it goes on at once, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from unittest.mock import AsyncMock

import pytest
from redis.asyncio import Redis

from bucketline import keys
from tests.gatekit.living import SOON_S, Where, granted, scopes, soon
from worker.limiter import Demand, Gate, Permit


async def test_a_free_place_goes_on_without_a_way_to_redis(
    gates: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few places and quick answers, each way to Redis would leave a place empty meanwhile."""
    gate = gates()
    where = scopes(concurrency=1, rpm=600_000)
    (permit,) = await granted(gate, where, 1)
    lane = gate._lanes["alpha",]
    waiting = await standing(gate, where, 2)
    with monkeypatch.context() as away:
        away.setattr(gate, "admission", AsyncMock(side_effect=ConnectionError))
        away.setattr(lane.standby, "_clock", lambda: 0.0)  # nobody has stood by for long
        for task in waiting:
            gate.settle(permit, input_tokens=1, output_tokens=1)
            assert lane.books.holding == 1
            async with asyncio.timeout(SOON_S):
                permit = await task
    gate.settle(permit)


async def standing(gate: Gate, where: Where, count: int) -> list[asyncio.Task[Permit]]:
    """So many who stand by for the lane's only place."""
    lane = gate._lanes[tuple(name for name, _ in where)]
    lane.standby.wanted = lambda _now: max(0, count - len(lane.standby))  # type: ignore[method-assign]
    waiting = [asyncio.create_task(gate.admit(where, Demand())) for _ in range(count)]
    await soon(lambda: len(lane.standby) == count)
    return waiting


async def test_who_stands_by_is_given_back_when_it_is_cancelled_or_a_pause_comes(
    gates: Callable[..., Gate], redis_client: Redis
) -> None:
    gate = gates()
    await gate.start()
    where = scopes(concurrency=1, rpm=600_000)
    (permit,) = await granted(gate, where, 1)
    lane = gate._lanes["alpha",]
    waiting = await standing(gate, where, 2)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    gate.settle(permit)
    last = asyncio.create_task(gate.admit(where, Demand()))
    async with asyncio.timeout(SOON_S):
        permit = await last
    after = asyncio.create_task(gate.admit(where, Demand()))
    await soon(lambda: len(lane.standby) == 1)
    gate.pause("alpha", 0.5, "rate_limit")
    assert not lane.standby
    began = time.monotonic()
    gate.settle(permit)
    async with asyncio.timeout(SOON_S):
        await after
    assert time.monotonic() - began >= 0.4
    async with asyncio.timeout(SOON_S):
        while int(await redis_client.hget(keys.gate_state("alpha"), "q.sum")) != 3:  # type: ignore[misc]
            await asyncio.sleep(0.01)
