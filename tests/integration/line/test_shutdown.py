"""How a worker ends: it takes nothing new, lets its answers land, hands the rest back, and says 0."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.line.processes import worker_process, write_config
from tests.integration.line.weathered import Scene, a_scene
from tests.replay.child import Child

pytestmark = pytest.mark.slow


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, latency_s=1.5, concurrency=10) as scene:
        yield scene


async def in_flight(scene: Scene, calls: int) -> None:
    """Wait until the provider has so many calls in hand."""
    async with asyncio.timeout(20):
        while scene.simulator.providers["alpha"].calls < calls:
            await asyncio.sleep(0.02)


async def ended(worker: Child, within_s: float) -> int:
    code = await worker.wait(within_s)
    worker.close()
    assert "Traceback" not in worker.said()[1]
    return code


async def test_told_to_end_it_lets_answers_land_and_hands_the_rest_back(scene: Scene) -> None:
    """Another worker goes on at once, not after the lease; and no call was made in vain."""
    config = write_config(scene, lease_s=15, concurrency=10)
    batch_id = await scene.submit(30)
    first = worker_process(scene, "first", config=config)
    await in_flight(scene, 10)
    first.signal(signal.SIGTERM)
    assert await ended(first, 15) == 0
    landed = scene.calls
    assert 10 <= landed < 30
    began_s = time.monotonic()
    second = worker_process(scene, "second", config=config)
    _, answered, failed = await scene.results(batch_id)
    assert time.monotonic() - began_s < 14, "the shard lay about until its lease ran out"
    second.signal(signal.SIGTERM)
    assert await ended(second, 15) == 0
    assert (len(answered), len(failed), scene.calls) == (30, 0, 30)
    assert all(row["bucketline"]["attempts"] == 1 for row in answered), "a hand-back costs no attempt"


async def test_told_to_end_it_asks_nothing_again(tmp_path: Path) -> None:
    """A call that fails within the grace time is the next worker's to repeat: this one might be cut off in the middle of it."""
    async with a_scene(tmp_path, latency_s=1.5, concurrency=10) as scene:
        config = write_config(scene, lease_s=15, concurrency=10)
        scene.simulator.change({"weather": {"rates": {"error_500": 1.0}}})
        await scene.submit(10)
        worker = worker_process(scene, "first", config=config)
        await in_flight(scene, 10)
        worker.signal(signal.SIGTERM)
        assert await ended(worker, 15) == 0
        assert scene.simulator.providers["alpha"].calls == 10


async def test_what_has_not_landed_after_the_grace_time_is_handed_back(scene: Scene) -> None:
    config = write_config(scene, concurrency=10, grace_s=0.2)
    batch_id = await scene.submit(10)
    worker = worker_process(scene, "first", config=config)
    await in_flight(scene, 10)
    worker.signal(signal.SIGTERM)
    assert await ended(worker, 8) == 0
    worker = worker_process(scene, "second", config=config)
    _, answered, _ = await scene.results(batch_id)
    worker.close()
    assert len(answered) == 10


async def test_it_ends_also_when_redis_is_away(scene: Scene) -> None:
    """Nobody's supervisor should have to kill it: after the grace time and a little more it goes."""
    config = write_config(scene, redis_url=f"redis://{scene.wire.address}/0", concurrency=10, grace_s=1)
    await scene.submit(10)
    worker = worker_process(scene, "first", config=config)
    await in_flight(scene, 10)
    away = asyncio.create_task(scene.wire.away(60))
    await asyncio.sleep(0.2)
    worker.signal(signal.SIGTERM)
    assert await ended(worker, 25) == 0
    away.cancel()


async def test_interrupted_twice_it_ends_at_once(scene: Scene) -> None:
    config = write_config(scene, concurrency=10, grace_s=60)
    await scene.submit(10)
    worker = worker_process(scene, "first", config=config)
    await in_flight(scene, 10)
    worker.signal(signal.SIGINT)
    await asyncio.sleep(0.3)
    assert worker.exit is None, "the first one lets answers land"
    worker.signal(signal.SIGINT)
    began_s = time.monotonic()
    assert await ended(worker, 5) == 130
    assert time.monotonic() - began_s < 1
