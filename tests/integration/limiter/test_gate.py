"""The gate in a process: permits, cancellation, budgets, a Redis that goes away and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bucketline import keys
from tests.gatekit.living import SOON_S, granted, scopes, soon
from worker.embedded import EmbeddedRedis
from worker.limiter import BudgetExhausted, Demand, Gate, Permit
from worker.turnstile import Turnstile


async def test_two_workers_share_one_limit_of_calls_in_flight(gates: Callable[..., Gate]) -> None:
    one, two = gates(), gates()
    permits = await granted(one, scopes(concurrency=3), 3)
    waiting = asyncio.create_task(two.admit(scopes(concurrency=3), Demand()))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    one.settle(permits[0], input_tokens=1, output_tokens=1)
    async with asyncio.timeout(SOON_S):
        await waiting


async def test_without_any_limit_nobody_is_asked(gates: Callable[..., Gate], redis_client: Redis) -> None:
    """The hot path of a local model: no round trip, however many requests."""
    gate = gates()
    await granted(gate, scopes(), 1)
    before = (await redis_client.info("stats"))["total_commands_processed"]
    for permit in await granted(gate, scopes(), 2000):
        gate.settle(permit, input_tokens=1, output_tokens=1)
    after = (await redis_client.info("stats"))["total_commands_processed"]
    assert after - before < 20


async def test_one_call_to_redis_carries_many_requests(gates: Callable[..., Gate], redis_client: Redis) -> None:
    gate = gates()
    await granted(gate, scopes(rpm=10**6), 1)
    before = (await redis_client.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
    for permit in await granted(gate, scopes(rpm=10**6), 1000):
        gate.settle(permit, input_tokens=1, output_tokens=1)
    after = (await redis_client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before < 100


async def test_a_cancelled_waiter_leaves_nothing_behind(gates: Callable[..., Gate]) -> None:
    gate = gates()
    where = scopes(concurrency=1)
    (permit,) = await granted(gate, where, 1)
    waiting = [asyncio.create_task(gate.admit(where, Demand())) for _ in range(50)]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    last = asyncio.create_task(gate.admit(where, Demand()))
    gate.settle(permit)
    async with asyncio.timeout(SOON_S):
        gate.settle(await last)
    (state,) = [s for s in await gate.snapshot() if s.name == "alpha"]
    assert state.waiting == 0


async def test_cancelling_at_any_moment_leaks_no_permit(gates: Callable[..., Gate]) -> None:
    """Also between the grant and the moment at which the waiter wakes."""
    gate = gates()
    where = scopes(concurrency=2)
    for turn in range(120):
        task = asyncio.create_task(gate.admit(where, Demand()))
        await asyncio.sleep(0.0005 * (turn % 30))
        task.cancel()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(result, Permit):
            gate.release(result)
    assert len(await granted(gate, where, 2)) == 2


async def test_a_permit_ends_once(gates: Callable[..., Gate]) -> None:
    gate = gates()
    where = scopes(concurrency=1)
    (permit,) = await granted(gate, where, 1)
    gate.settle(permit)
    gate.settle(permit)
    gate.release(permit)
    await granted(gate, where, 1)
    second = asyncio.create_task(gate.admit(where, Demand()))
    await asyncio.sleep(0.1)
    assert not second.done()
    second.cancel()


async def test_a_pause_told_to_one_worker_holds_all(gates: Callable[..., Gate]) -> None:
    one, two = gates(), gates()
    await one.start()
    where = scopes(rpm=60_000)
    await granted(one, where, 1)
    await granted(two, where, 1)
    one.pause("alpha", 1.0, "rate_limit")
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await granted(two, where, 1)
    assert 0.8 <= time.monotonic() - began <= 2.0


async def test_a_refusal_where_no_limit_was_known_ends_the_open_lane_of_every_worker(
    gates: Callable[..., Gate],
) -> None:
    one, two = gates(), gates()
    await one.start()
    await two.start()
    permits = await granted(one, scopes(), 8)
    await granted(two, scopes(), 1)
    one.pause("alpha", 0.1, "rate_limit")
    for permit in permits:
        one.release(permit, sent=True)
    await soon(lambda: not next(iter(two._lanes.values())).is_open)
    (state,) = await two.snapshot()
    assert [(d.name, d.source) for d in state.dimensions] == [("concurrency", "found")]
    await granted(two, scopes(), 1)


async def test_a_small_batch_behind_a_large_one_starts_soon(gates: Callable[..., Gate]) -> None:
    gate = gates()
    where = scopes(rpm=6000)
    order: list[str] = []

    async def line(batch: str) -> None:
        await gate.admit(where, Demand(), batch_id=batch)
        order.append(batch)

    large = [asyncio.create_task(line("large")) for _ in range(2000)]
    await asyncio.sleep(0.2)
    ahead = len(order)
    await asyncio.wait_for(asyncio.gather(*(line("small") for _ in range(5))), SOON_S)
    assert len(order) - ahead < 400, "in turn with the large batch, not after it"
    for task in large:
        task.cancel()
    await asyncio.gather(*large, return_exceptions=True)


async def test_a_budget_stops_its_own_batch_and_no_other(gates: Callable[..., Gate]) -> None:
    gate = gates()
    where = scopes(rpm=60_000)
    await gate.set_budget("poor", 250)
    first = await gate.admit(where, Demand(nanousd=200), batch_id="poor")
    second = asyncio.create_task(gate.admit(where, Demand(nanousd=100), batch_id="poor"))
    await asyncio.sleep(0.05)
    assert not second.done(), "the first call may turn out cheaper"
    await granted(gate, where, 3, batch_id="rich")
    gate.settle(first, input_tokens=1, output_tokens=1, nanousd=140)
    async with asyncio.timeout(SOON_S):
        gate.settle(await second, nanousd=110)
    with pytest.raises(BudgetExhausted):
        async with asyncio.timeout(SOON_S):
            await gate.admit(where, Demand(nanousd=1), batch_id="poor")


async def test_a_worker_whose_clock_is_an_hour_wrong_changes_nothing(
    gates: Callable[..., Gate], redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the flow nor the daily reset is taken from a worker's clock."""
    wrong = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: wrong)
    gate = gates(clock=lambda: time.monotonic() + 3600)
    began = time.monotonic()
    permits = await granted(gate, scopes(rpm=600, rpd=1000), 30)
    assert time.monotonic() - began >= 1.5, "a burst of ten, then ten a second"
    assert len(permits) == 30
    seconds, _ = await redis_client.time()
    until = int(await redis_client.hget(keys.gate_state("alpha"), "day.until")) // 10**6  # type: ignore[misc]
    assert until == (seconds // 86_400 + 1) * 86_400


async def test_headers_that_say_nothing_is_left_slow_the_flow(gates: Callable[..., Gate], redis_client: Redis) -> None:
    gate = gates()
    await gate.start()
    where = scopes(rpm=6000)
    await granted(gate, where, 1)
    gate.observe(where, {"x-ratelimit-limit-requests": "6000", "x-ratelimit-remaining-requests": "0"})

    async def level() -> int:
        return int(await redis_client.hget(keys.gate_state("alpha"), "q.level"))  # type: ignore[misc]

    async with asyncio.timeout(SOON_S):
        while await level() > 0:
            await asyncio.sleep(0.005)


async def test_a_lost_script_cache_and_an_emptied_redis_stop_nobody(
    gates: Callable[..., Gate], redis_client: Redis
) -> None:
    gate = gates()
    where = scopes(rpm=60_000, concurrency=10)
    permits = await granted(gate, where, 5)
    await redis_client.script_flush()
    permits += await granted(gate, where, 3)
    await redis_client.flushall()
    for permit in permits:
        gate.settle(permit, input_tokens=1, output_tokens=1)
    assert len(await granted(gate, where, 10)) == 10


async def test_while_redis_is_away_grants_stop_and_then_go_on(tmp_path: Path) -> None:
    """Calls in flight may end meanwhile; what they settle is told later, and no permit is lost."""
    with EmbeddedRedis(tmp_path) as server:
        redis: Redis = Redis.from_url(server.url)
        gate = Gate(redis, "w")
        where = scopes(concurrency=4)
        permits = await granted(gate, where, 4)
        server.close()
        for permit in permits:
            gate.settle(permit, input_tokens=1, output_tokens=1)
        waiting = [asyncio.create_task(gate.admit(where, Demand())) for _ in range(4)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in waiting)
        server.start()
        new: Redis = Redis.from_url(server.url)
        redis.connection_pool = new.connection_pool  # the socket of the restarted server has another name
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*waiting)
        await gate.close()
        await redis.aclose()
        await new.aclose()


async def test_a_closed_gate_gives_its_calls_back_at_once(gates: Callable[..., Gate], redis_client: Redis) -> None:
    one, two = gates(), gates()
    where = scopes(concurrency=2)
    for permit in await granted(one, where, 2):
        one.release(permit)
    await one.close()
    await granted(two, where, 2)


async def test_room_in_the_process_bounds_what_is_asked_for(gates: Callable[..., Gate]) -> None:
    """A grant that cannot be sent would only be charged too early."""
    room = 2
    gate = gates(room=lambda: room)
    where = scopes(rpm=60_000)
    waiting = [asyncio.create_task(gate.admit(where, Demand())) for _ in range(5)]
    await soon(lambda: sum(task.done() for task in waiting) >= 2)
    room = 0
    await asyncio.sleep(0.1)
    done = [task for task in waiting if task.done()]
    assert len(done) < 5
    room = 5
    gate.settle(done[0].result())
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(*waiting)


async def test_a_lane_that_waited_for_room_in_the_process_goes_when_another_lanes_call_ends(
    gates: Callable[..., Gate],
) -> None:
    """Two providers share a process's places: the busy one must not shut the other out."""
    turnstile = Turnstile(1)
    gate = gates(room=turnstile.soon)
    turnstile.opened = gate.look
    (permit,) = await granted(gate, scopes("busy", rpm=60_000), 1)
    await turnstile.enter("b", 0)
    waiting = asyncio.create_task(gate.admit(scopes("quiet", rpm=60_000), Demand()))
    await soon(lambda: bool(gate.starved))
    gate.settle(permit)
    turnstile.leave()
    async with asyncio.timeout(SOON_S):
        await waiting
