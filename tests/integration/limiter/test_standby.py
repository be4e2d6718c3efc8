"""Who stands by for the next free place of a lane: it goes on at once, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from unittest.mock import AsyncMock

import pytest
from redis.asyncio import Redis

from bucketline import keys
from tests.gatekit.living import SOON_S, Where, granted, scopes, soon
from worker.limiter import Demand, Gate, Permit, standby


async def test_a_free_place_goes_on_without_a_way_to_redis(
    gates: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few places and quick answers, each way to Redis would leave a place empty meanwhile."""
    gate = gates()
    where = scopes(concurrency=1, rpm=600_000)
    (permit,) = await granted(gate, where, 1)
    lane = gate._lanes["alpha",]
    monkeypatch.setattr(standby, "_LIFE_S", 60.0)
    waiting = await standing(gate, where, 2)
    with monkeypatch.context() as away:
        away.setattr(gate, "admission", AsyncMock(side_effect=ConnectionError))
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


async def test_places_that_are_handed_on_are_never_one_too_many_over_the_fleet(gates: Callable[..., Gate]) -> None:
    """Three workers, short calls of two batches, some cancelled while they wait: at no moment more than allowed."""
    fleet = [gates(), gates(), gates()]
    where = scopes(concurrency=5, rpm=10**7)
    dice = random.Random(4)
    in_flight, most, ended = 0, 0, 0

    async def line(gate: Gate, batch: str) -> None:
        nonlocal in_flight, most, ended
        permit = await gate.admit(where, Demand(5, 5), batch_id=batch)
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(dice.uniform(0, 0.004))
        in_flight -= 1
        ended += 1
        gate.settle(permit, input_tokens=5, output_tokens=5)

    lines = [asyncio.create_task(line(gate, batch)) for _ in range(120) for gate in fleet for batch in "ab"]
    stay = [task for task in lines if dice.random() < 0.9]
    await soon(lambda: ended > 20)
    for task in set(lines) - set(stay):
        task.cancel()
    async with asyncio.timeout(60):
        await asyncio.gather(*stay)
    assert most == 5
    assert ended >= len(stay)
    await asyncio.gather(*lines, return_exceptions=True)
    assert len(await granted(fleet[0], where, 5)) == 5, "nothing is left behind"


async def test_a_place_that_comes_free_elsewhere_goes_to_who_stands_by_first(
    gates: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = gates(), gates()
    where = scopes(concurrency=2)
    (elsewhere,) = await granted(two, where, 1)
    await granted(one, where, 1)
    monkeypatch.setattr(standby, "_LIFE_S", 60.0)
    (first,) = await standing(one, where, 1)
    second = asyncio.create_task(one.admit(where, Demand()))
    two.settle(elsewhere)
    async with asyncio.timeout(SOON_S):
        await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    assert first.done()
    assert not second.done()
    second.cancel()
