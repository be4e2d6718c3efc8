"""Cancel, pause and deadline: they reach everything that is open, and they survive a restart of everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bucketline.connect import open_redis
from bucketline.ledger import Ledger
from producer import control
from tests.integration.line.weathered import Scene, a_scene

pytestmark = pytest.mark.slow


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, latency_s=1.0, concurrency=10, open_requests=20) as scene:
        yield scene


async def order(scene: Scene, what: str, batch_id: str, **named: bool) -> None:
    redis = open_redis(scene.redis.url)
    await getattr(control, what)(batch_id, Ledger(redis), scene.store, **named)
    await redis.aclose()


async def everything_restarted(scene: Scene) -> None:
    """The worker ends in order; Redis comes back without a single key."""
    await scene.stop()
    async with scene.client() as redis:
        await redis.flushall()


async def asked(scene: Scene, calls: int) -> None:
    async with asyncio.timeout(20):
        while scene.simulator.providers["alpha"].calls < calls:
            await asyncio.sleep(0.02)


async def test_cancelled_lines_end_within_a_second_and_what_was_paid_for_is_kept(scene: Scene) -> None:
    await scene.start()
    batch_id = await scene.submit(60)
    await scene.until(batch_id, 10)
    began_s = time.monotonic()
    await order(scene, "cancel", batch_id)
    async with asyncio.timeout(10):
        while scene.engine.turnstile.in_flight:
            await asyncio.sleep(0.01)
    assert time.monotonic() - began_s < 1.2
    manifest, answered, failed = await scene.results(batch_id)
    assert manifest["status"] == "cancelled"
    assert len(answered) + len(failed) == 60
    assert len(answered) >= 10
    assert {row["error"]["code"] for row in failed} == {"cancelled"}
    assert scene.simulator.providers["alpha"].calls <= len(answered) + 10


async def test_calls_in_flight_land_where_the_canceller_says_so(scene: Scene) -> None:
    await scene.start()
    batch_id = await scene.submit(40)
    await asked(scene, 10)
    sent = scene.simulator.providers["alpha"].calls
    await order(scene, "cancel", batch_id, keep_in_flight=True)
    _, answered, failed = await scene.results(batch_id)
    assert len(answered) >= sent
    assert len(answered) + len(failed) == 40
    assert scene.calls == len(answered)


async def test_a_cancelled_batch_stays_cancelled_when_redis_forgets_it(scene: Scene) -> None:
    batch_id = await scene.submit(30)
    await order(scene, "cancel", batch_id)
    await everything_restarted(scene)
    await scene.start()
    manifest, answered, failed = await scene.results(batch_id)
    assert (manifest["status"], len(answered), len(failed)) == ("cancelled", 0, 30)
    assert scene.simulator.providers["alpha"].calls == 0


async def test_a_paused_batch_stays_paused_when_redis_forgets_it(scene: Scene) -> None:
    await scene.start()
    batch_id = await scene.submit(40)
    await scene.until(batch_id, 5)
    await order(scene, "pause", batch_id)
    await everything_restarted(scene)
    before = scene.simulator.providers["alpha"].calls
    await scene.start()
    async with asyncio.timeout(20), scene.client() as redis:
        while await Ledger(redis).progress(batch_id) is None:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.5)
    assert scene.simulator.providers["alpha"].calls == before
    await order(scene, "resume", batch_id)
    _, answered, _ = await scene.results(batch_id)
    assert len(answered) == 40


async def test_a_deadline_ends_what_is_open_by_redis_clock(scene: Scene) -> None:
    """Also after Redis has forgotten the batch: its document says when it was made and how long it may take."""
    batch_id = await scene.submit(60, window_s=4.0)
    await everything_restarted(scene)
    await scene.start()
    manifest, answered, failed = await scene.results(batch_id)
    assert manifest["status"] == "expired"
    assert len(answered) + len(failed) == 60
    assert {row["error"]["code"] for row in failed} == {"expired"}
