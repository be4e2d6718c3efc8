"""The store in bad weather: a shard keeps its answers, stops asking when memory is full of them, and only then ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bucketline import keys
from bucketline.ledger import Ledger
from tests.integration.line.weathered import FullForAWhile, Scene, a_scene
from worker.engine import Engine

pytestmark = pytest.mark.slow


def strike(engine: Engine) -> FullForAWhile:
    """The worker's store takes no more parts; the provider and the input are as they were."""
    full = FullForAWhile(engine.store)
    engine.runner.sealer._store = full
    return full


async def test_a_full_disk_costs_no_answer_and_nothing_is_over_before_it_is_written(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        engine = await scene.start()
        full = strike(engine)
        batch_id = await scene.submit(30)
        await scene.until(batch_id, 30)
        await asyncio.sleep(2.0)
        assert full.refused > 0
        assert not await scene.is_over(batch_id)
        full.full = False
        manifest, answered, _ = await scene.results(batch_id)
        assert (len(answered), scene.calls) == (30, 30)
        assert manifest["status"] == "completed"


async def test_memory_is_bounded_and_no_call_is_made_that_could_not_be_kept(tmp_path: Path) -> None:
    """Past the bound no further call leaves: of 400 lines only those whose answers fit, and those in flight by then."""
    most_bytes = 40_000
    async with a_scene(tmp_path, latency_s=0.05, concurrency=5, max_unsealed_bytes=most_bytes) as scene:
        engine = await scene.start()
        full = strike(engine)
        batch_id = await scene.submit(400)
        async with asyncio.timeout(30):
            while not engine.recorder.is_full:
                await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
        asked, held = scene.simulator.providers["alpha"].calls, engine.recorder.held_bytes
        await asyncio.sleep(1.0)
        assert scene.simulator.providers["alpha"].calls == asked, "calls go on although their answers cannot be kept"
        assert asked < 200
        assert held < most_bytes + 6 * 2000, "more than the answers that were in flight"
        full.full = False
        _, answered, _ = await scene.results(batch_id)
        assert (len(answered), scene.calls) == (400, 400)
        assert engine.recorder.held_bytes == 0


async def test_a_damaged_part_is_noticed_and_only_its_lines_are_asked_again(tmp_path: Path) -> None:
    """Half-written objects never look whole: a part has the digest of its own bytes."""
    async with a_scene(tmp_path, latency_s=0.05) as scene:
        await scene.start()
        batch_id = await scene.submit(60)
        async with asyncio.timeout(20):
            while not (parts := [stat.key async for stat in scene.store.list(f"batches/{batch_id}/parts/")]):
                await asyncio.sleep(0.005)
        whole = await scene.store.get(parts[0])
        await scene.store.put(parts[0], whole[:-7])
        manifest, answered, _ = await scene.results(batch_id)
        assert len({row["custom_id"] for row in answered}) == len(answered) == 60
        assert 60 < scene.calls <= 60 + 25
        assert manifest["counts"]["completed"] == 60


async def test_redis_has_back_what_it_forgot_also_while_the_store_takes_nothing(tmp_path: Path) -> None:
    """The worker is then the only one that has those answers, and may be killed before the store takes them."""
    async with a_scene(tmp_path, latency_s=0.5, concurrency=2) as scene:
        engine = await scene.start()
        full = strike(engine)
        batch_id = await scene.submit(25)
        await scene.until(batch_id, 4)
        before = await recorded(scene, batch_id)
        for shard in engine.runner.open:
            shard.seal_not_before_s = float("inf")  # it has failed for so long that the next try is far off
        async with scene.client() as redis:
            await redis.delete(keys.batch_done(batch_id), keys.batch_open(batch_id, 0))
        async with asyncio.timeout(20):
            while not await recorded(scene, batch_id) >= before:
                await asyncio.sleep(0.05)
        assert engine.runner.open_lines > 0, "not only at the shard's end"
        for shard in engine.runner.open:
            shard.seal_not_before_s = 0.0
        full.full = False
        _, answered, failed = await scene.results(batch_id)
        assert (len(answered), failed) == (25, [])
        assert scene.calls == 25


async def recorded(scene: Scene, batch_id: str) -> set[int]:
    """The lines whose answers lie in Redis."""
    async with scene.client() as redis:
        return {entry.line for entry in await Ledger(redis).unsealed(batch_id, 0)}
