"""What one worker measures of a route, every worker knows; old calls fade."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from bucketline import keys
from bucketline.catalog import Limits, Provider, Route
from bucketline.failure import Failure, Kind
from bucketline.measured import HALF_LIFE_S, read_measured
from bucketline.usage import Usage
from worker.measured import Measurements

PROVIDER = Provider("alpha", "openai", "http://127.0.0.1", None, None, "alpha", Limits(), {}, {}, "alpha", "auto")
FAST, SLOW = Route(PROVIDER, "fast"), Route(PROVIDER, "slow")


async def test_two_workers_add_up_to_one_picture(redis_client: Redis) -> None:
    one, other = Measurements(redis_client), Measurements(redis_client)
    for _ in range(9):
        one.note(FAST, 0.5, Usage(input_tokens=10, output_tokens=50), None)
    other.note(FAST, 5.0, Usage(input_tokens=10, output_tokens=450), None)
    for _ in range(10):
        other.note(FAST, 1.0, None, Failure(Kind.SERVER_ERROR, ""))
    await one.tell()
    await other.tell()
    await one.tell()
    for worker in (one, other):
        facts = worker.facts(FAST, 7)
        assert facts.likely_nanousd == 7
        assert facts.success == pytest.approx(0.5, abs=0.01)
        assert facts.latency_s == pytest.approx(0.95, rel=0.01)
    shown = (await read_measured(redis_client, [FAST.name, SLOW.name]))[FAST.name]
    assert shown.p50_s == pytest.approx(0.5, rel=0.06)
    assert shown.p95_s == pytest.approx(5.0, rel=0.06)
    assert shown.tokens_per_s == pytest.approx(900 / 9.5, rel=0.01)


async def test_what_is_the_lines_own_fault_says_nothing_about_the_route(redis_client: Redis) -> None:
    worker = Measurements(redis_client)
    for kind in (Kind.BAD_REQUEST, Kind.RATE_LIMIT, Kind.CONTEXT_TOO_LONG, Kind.INVALID_ANSWER):
        worker.note(FAST, 0.1, None, Failure(kind, ""))
    await worker.tell()
    assert worker.facts(FAST, None).success is None
    assert await read_measured(redis_client, [FAST.name]) == {}


async def test_a_route_whose_answers_reason_is_found_out(redis_client: Redis) -> None:
    """By its answers, not by its name: such calls are long, and dear to repeat."""
    worker = Measurements(redis_client)
    assert not worker.reasons(SLOW)
    worker.note(SLOW, 30.0, Usage(input_tokens=10, output_tokens=1000, reasoning_tokens=900), None)
    worker.note(FAST, 1.0, Usage(input_tokens=10, output_tokens=1000), None)
    assert worker.reasons(SLOW)
    assert not worker.reasons(FAST)


async def test_an_old_call_counts_half_after_its_half_life(redis_client: Redis) -> None:
    worker = Measurements(redis_client)
    for _ in range(8):
        worker.note(SLOW, 10.0, None, None)
    await worker.tell()
    at_ms = int(await redis_client.hget(keys.measured(SLOW.name), "at_ms") or 0)  # type: ignore[misc]
    await redis_client.hset(keys.measured(SLOW.name), "at_ms", str(at_ms - int(HALF_LIFE_S * 1000)))  # type: ignore[misc]
    for _ in range(4):
        worker.note(SLOW, 1.0, None, None)
    await worker.tell()
    assert worker.facts(SLOW, None).latency_s == pytest.approx(5.5, rel=0.01)
