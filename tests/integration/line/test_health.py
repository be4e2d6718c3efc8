"""Two workers share what they know of a route, on a real Redis: a broken one costs the fleet a handful of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from bucketline import keys
from bucketline.catalog import Limits, Provider, Route
from bucketline.circuit import read_circuits, resume
from bucketline.failure import Failure, Kind
from worker.circuits import MILD, OPENS_AFTER, Pauses
from worker.health import Health, Pass

PROVIDER = Provider("alpha", "openai", "http://127.0.0.1", None, None, "alpha", Limits(), {}, {}, "alpha", "auto")
FIRST, SECOND = Route(PROVIDER, "one"), Route(replace(PROVIDER, name="beta"), "two")
SIBLING = Route(PROVIDER, "other-model")
BROKEN = Failure(Kind.SERVER_ERROR, "")
EMPTY = Failure(Kind.ACCOUNT_EXHAUSTED, "")
SHORT = Pauses(first_ms=40, longest_ms=80)


@pytest.fixture
async def fleet(redis_client: Redis) -> AsyncIterator[tuple[Health, Health]]:
    workers = (Health(redis_client, time.time, SHORT), Health(redis_client, time.time, SHORT))
    for worker in workers:
        worker.start()
    yield workers
    for worker in workers:
        await worker.close()


def ordinary(route: Route) -> Pass:
    return Pass(0, route)


def break_it(worker: Health, route: Route) -> None:
    for _ in range(OPENS_AFTER):
        worker.saw(ordinary(route), BROKEN)


async def until(fact: Callable[[], bool], what: str) -> None:
    """Wait for a fact that another task brings about."""
    try:
        async with asyncio.timeout(10):
            while not fact():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"never: {what}")


async def leave(worker: Health, *routes: Route) -> Pass:
    async with asyncio.timeout(10):
        return await worker.wait(routes, range(len(routes)))


async def test_a_handful_of_failures_closes_the_route_at_once_here_and_soon_everywhere(
    fleet: tuple[Health, Health],
) -> None:
    one, other = fleet
    break_it(one, FIRST)
    assert not one.usable(FIRST)
    assert one.take([FIRST, SECOND], (0, 1)) == Pass(1, SECOND)
    other.saw(ordinary(FIRST), BROKEN)  # the other worker has met the route too
    await until(lambda: not other.usable(FIRST), "the other worker hears of it")


async def test_a_route_that_fails_now_and_then_stays_open(fleet: tuple[Health, Health]) -> None:
    one, other = fleet
    for _ in range(4 * OPENS_AFTER):
        one.saw(ordinary(FIRST), BROKEN)
        one.saw(ordinary(FIRST), None)
        other.saw(ordinary(FIRST), None)
    await until(lambda: not one._circuits[FIRST.name].untold, "the fleet was told")
    assert one.usable(FIRST)
    assert other.usable(FIRST)


async def test_a_route_that_fails_most_of_its_calls_is_closed_by_the_fleet_together(
    fleet: tuple[Health, Health],
) -> None:
    """No worker alone has seen enough, and an answer now and then does not hide it."""
    one, other = fleet
    for worker in fleet:
        for failure in (BROKEN, BROKEN, None, BROKEN, BROKEN):
            worker.saw(ordinary(FIRST), failure)
    await until(lambda: not one.usable(FIRST) or not other.usable(FIRST), "the fleet closes it")


async def test_one_probe_of_the_whole_fleet_tries_a_broken_route_out(fleet: tuple[Health, Health]) -> None:
    one, other = fleet
    break_it(one, FIRST)
    other.saw(ordinary(FIRST), BROKEN)
    await until(lambda: not other.usable(FIRST), "both know")
    lines = [asyncio.ensure_future(leave(worker, FIRST)) for worker in (one, other) for _ in range(20)]
    await asyncio.wait(lines, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(3 * SHORT.first_ms / 1000)
    gone = [line for line in lines if line.done()]
    assert len(gone) == 1
    probe = gone[0].result()
    assert probe.probes == (FIRST.name,)

    worker = one if lines.index(gone[0]) < 20 else other
    worker.saw(probe, None)
    assert {leave_.probes for leave_ in await asyncio.gather(*lines)} == {(FIRST.name,), ()}


async def test_a_probe_that_fails_leaves_the_route_closed_for_longer(
    fleet: tuple[Health, Health], redis_client: Redis
) -> None:
    one, _ = fleet
    break_it(one, FIRST)
    one.saw(await leave(one, FIRST), BROKEN)
    probe = await leave(one, FIRST)
    assert await redis_client.hget(keys.circuit(FIRST.name), "pause_ms") == b"80"  # type: ignore[misc]
    assert one.down_s(probe) > 0
    one.saw(probe, None)
    assert (await leave(one, FIRST)).probes == ()


async def test_a_probe_that_was_never_sent_is_given_to_another(fleet: tuple[Health, Health]) -> None:
    """A worker that lets go of it (the batch was paused, the line cancelled) must not hold the fleet up."""
    one, other = fleet
    break_it(one, FIRST)
    probe = await leave(one, FIRST)
    other.saw(ordinary(FIRST), BROKEN)
    await until(lambda: not other.usable(FIRST), "the other worker hears of it")
    one.lost(probe)
    assert (await leave(other, FIRST)).probes == (FIRST.name,)


async def test_a_waiter_that_is_cancelled_gives_its_probe_back(fleet: tuple[Health, Health]) -> None:
    one, _ = fleet
    break_it(one, FIRST)
    first = asyncio.ensure_future(one.wait([FIRST], (0,)))
    second = asyncio.ensure_future(leave(one, FIRST))
    await until(lambda: one.parked == 2, "both wait")
    first.cancel()
    assert (await second).probes == (FIRST.name,)
    assert one.parked == 0


async def test_a_route_that_lines_go_past_is_tried_out_too(fleet: tuple[Health, Health]) -> None:
    """Else a plan whose second route works would never come back to its first."""
    one, _ = fleet
    break_it(one, FIRST)
    async with asyncio.timeout(10):
        while (given := one.take([FIRST, SECOND], (0, 1))) == Pass(1, SECOND):
            await asyncio.sleep(0.01)
    assert given == Pass(0, FIRST, (FIRST.name,))


async def test_an_empty_account_closes_all_its_routes_until_an_operator_resumes_it(
    fleet: tuple[Health, Health], redis_client: Redis
) -> None:
    one, other = fleet
    one.saw(ordinary(FIRST), EMPTY)
    assert not one.usable(SIBLING)
    assert one.closed_for_good([FIRST, SIBLING], (0, 1)) is Kind.ACCOUNT_EXHAUSTED
    assert one.closed_for_good([FIRST, SECOND], (0, 1)) is None
    other.saw(ordinary(FIRST), EMPTY)
    waiting = asyncio.ensure_future(leave(other, SIBLING))
    await until(lambda: other.parked == 1 and not one._circuits["alpha"].untold, "the other worker's line waits")
    shown = await read_circuits(redis_client, ["alpha", "beta"])
    assert list(shown) == ["alpha"]
    assert (shown["alpha"].kind, shown["alpha"].until_s) == ("account_exhausted", None)

    assert await resume(redis_client, "alpha")
    assert not await resume(redis_client, "beta")
    probe = await waiting
    assert probe.probes == ("alpha",)
    assert not one.usable(FIRST), "one call tries the account out, not all of them"
    other.saw(probe, None)
    assert (await leave(one, FIRST)).probes == ()


async def test_an_account_that_is_still_empty_costs_a_hasty_operator_one_call(
    fleet: tuple[Health, Health], redis_client: Redis
) -> None:
    one, _ = fleet
    one.saw(ordinary(FIRST), EMPTY)
    await until(lambda: not one._circuits["alpha"].untold, "the fleet was told")
    await resume(redis_client, "alpha")
    one.saw(await leave(one, FIRST), EMPTY)
    await until(lambda: not one._circuits["alpha"].untold, "the fleet was told")
    assert (await read_circuits(redis_client, ["alpha"]))["alpha"].until_s is None


async def test_workers_do_not_hold_the_two_probes_of_a_route_against_each_other(
    fleet: tuple[Health, Health], redis_client: Redis
) -> None:
    """A route that was failing when its account ran dry has two closed circuits; one call tries both out."""
    one, other = fleet
    break_it(one, FIRST)
    one.saw(ordinary(FIRST), EMPTY)
    await until(lambda: not one._circuits["alpha"].untold, "the fleet was told")
    for worker, route in ((one, "alpha"), (other, FIRST.name)):
        worker._circuits[route].state = "probe"
    other._circuits["alpha"].open("account_exhausted", 0)
    probe = await leave(one, FIRST)
    assert probe.probes == ("alpha", FIRST.name)
    assert other.take([FIRST], (0,)) is None
    one.saw(probe, None)
    await until(lambda: one.usable(FIRST), "both are open to everyone")
    assert await read_circuits(redis_client, [FIRST.name]) == {}


async def test_a_configured_recheck_needs_no_operator(fleet: tuple[Health, Health]) -> None:
    one, _ = fleet
    patient = Route(replace(PROVIDER, recheck_s=0.05), "one")
    one.saw(ordinary(patient), EMPTY)
    one.saw(await leave(one, patient), None)
    assert (await leave(one, patient)).probes == ()


async def test_a_spent_day_closes_its_model_and_not_the_account(
    fleet: tuple[Health, Health], redis_client: Redis
) -> None:
    one, _ = fleet
    one.saw(ordinary(FIRST), Failure(Kind.DAILY_QUOTA, ""))
    assert not one.usable(FIRST)
    assert one.usable(SIBLING)
    assert one.closed_for_good([FIRST], (0,)) is None, "it opens by itself"
    await until(lambda: not one._circuits[FIRST.name].untold, "the fleet was told")
    shown = (await read_circuits(redis_client, [FIRST.name]))[FIRST.name]
    assert shown.until_s is not None
    assert time.time() < shown.until_s <= time.time() + 3600


async def test_a_missing_model_is_passed_over_where_there_is_another_route_and_holds_nobody_up(
    fleet: tuple[Health, Health],
) -> None:
    """Else each line of a batch would ask for the retired model once; but one with no other way is told so."""
    one, _ = fleet
    for _ in range(OPENS_AFTER):
        one.saw(ordinary(FIRST), Failure(Kind.MODEL_MISSING, ""))
    assert one.take([FIRST, SECOND], (0, 1)) == Pass(1, SECOND)
    alone = one.take([FIRST], (0,))
    assert alone is not None
    assert not one.is_closed(alone)
    assert one.closed_for_good([FIRST], (0,)) is None
    await until(lambda: not one._circuits[FIRST.name].untold, "the fleet was told")
    assert one.take([FIRST], (0,)) == alone


async def test_a_few_lines_that_the_provider_chokes_on_do_not_close_its_route(fleet: tuple[Health, Health]) -> None:
    """A 500 in the provider's own form may be the line's doing; it takes more of those to call it an outage."""
    one, _ = fleet
    choked = Failure(Kind.SERVER_ERROR, "", status=500)
    for _ in range(MILD * OPENS_AFTER - 1):
        one.saw(ordinary(FIRST), choked)
    await until(lambda: not one._circuits[FIRST.name].untold, "the fleet was told")
    assert one.usable(FIRST)
    one.saw(ordinary(FIRST), choked)
    assert not one.usable(FIRST)


async def test_what_is_the_lines_fault_never_closes_a_route(fleet: tuple[Health, Health]) -> None:
    one, _ = fleet
    for kind in (Kind.BAD_REQUEST, Kind.RATE_LIMIT, Kind.CONTEXT_TOO_LONG, Kind.CONTENT_FILTER, Kind.INVALID_ANSWER):
        for _ in range(2 * OPENS_AFTER):
            one.saw(ordinary(FIRST), Failure(kind, ""))
    for _ in range(2 * OPENS_AFTER):
        one.saw(ordinary(FIRST), Failure(Kind.TIMEOUT_AFTER_SEND, ""), blame=False)
    assert one.usable(FIRST)


async def test_a_worker_that_died_with_the_probe_holds_it_for_a_while_only(
    fleet: tuple[Health, Health], redis_client: Redis
) -> None:
    one, other = fleet
    break_it(one, FIRST)
    await leave(one, FIRST)  # and never comes back
    other.saw(ordinary(FIRST), BROKEN)
    await until(lambda: not other.usable(FIRST), "the other worker hears of it")
    line = asyncio.ensure_future(leave(other, FIRST))
    await until(lambda: other.parked == 1, "another line waits")
    until_us = int(await redis_client.hget(keys.circuit(FIRST.name), "probe_us") or 0)  # type: ignore[misc]
    assert until_us / 1e6 > time.time()
    await redis_client.hset(keys.circuit(FIRST.name), "probe_us", "1")  # type: ignore[misc]
    assert (await line).probes == (FIRST.name,)
