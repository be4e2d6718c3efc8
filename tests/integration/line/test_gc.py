"""Clean-up removes the leftovers of finished batches, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bucketline.connect import open_redis
from bucketline.errors import UsageError
from bucketline.layout import manifest_object
from bucketline.ledger import Ledger
from producer.watch import progress_of
from tests.integration.line.weathered import Scene, a_scene
from worker.clean import clean
from worker.commands.gc import age_of


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, latency_s=0.0) as scene:
        yield scene


async def objects(scene: Scene, batch_id: str) -> dict[str, bytes]:
    return {stat.key: await scene.store.get(stat.key) async for stat in scene.store.list("") if batch_id in stat.key}


async def aged(scene: Scene, batch_id: str, day: str) -> None:
    """Move a batch's end into the past, in its manifest and in the copy that is listed."""
    document = json.loads(await scene.store.get(manifest_object(batch_id)))
    copies = [stat.key async for stat in scene.store.list("manifests/") if batch_id in stat.key]
    document |= {"created_at": f"{day}T00:00:00.000Z", "finished_at": f"{day}T00:01:00.000Z"}
    raw = json.dumps(document).encode()
    await scene.store.put(manifest_object(batch_id), raw)
    for key in copies:
        await scene.store.delete(key)
    await scene.store.put(f"manifests/{day}/{batch_id}.json", raw)


async def closed(scene: Scene) -> None:
    """Wait until the ledger knows of no batch that is under way."""
    async with asyncio.timeout(10), scene.client() as client:
        while await Ledger(client).unfinished(0, 10):
            await asyncio.sleep(0.02)


async def test_old_finished_batches_lose_their_parts_and_their_keys_alone(scene: Scene) -> None:
    await scene.start()
    old, young = await scene.submit(3), await scene.submit(3)
    for batch_id in (old, young):
        await scene.results(batch_id)
    await closed(scene)
    await scene.stop()
    running = await scene.submit(3)
    await aged(scene, old, "2020-01-02")
    before = {batch_id: await objects(scene, batch_id) for batch_id in (old, young, running)}
    redis = open_redis(scene.redis.url)
    await redis.mset({"other:key": "1"})

    would = await clean(scene.store, redis, Ledger(redis), age_of("30d"), dry_run=True)
    assert before == {batch_id: await objects(scene, batch_id) for batch_id in (old, young, running)}
    done = await clean(scene.store, redis, Ledger(redis), age_of("30d"))

    assert would == done
    assert done.batches == [old]
    kept = {key: raw for key, raw in before[old].items() if "/parts/" not in key}
    assert await objects(scene, old) == kept
    assert await objects(scene, young) == before[young]
    assert await objects(scene, running) == before[running]
    left = {key.decode() async for key in redis.scan_iter(count=1000)}
    assert not any(old in key for key in left)
    assert {f"bl:b:{young}", f"bl:b:{running}", "other:key"} <= left
    assert (await progress_of(old, Ledger(redis), scene.store)).counts.completed == 3, "the manifest still tells"
    assert (await clean(scene.store, redis, Ledger(redis), age_of("30d"))).batches == []
    await redis.aclose()


async def test_a_copy_of_a_manifest_alone_ends_no_batch(scene: Scene) -> None:
    """It is written before the manifest: a worker that died between the two has not finished the batch."""
    await scene.start()
    batch_id = await scene.submit(3)
    await scene.results(batch_id)
    await closed(scene)
    await scene.stop()
    await aged(scene, batch_id, "2020-01-02")
    await scene.store.delete(manifest_object(batch_id))
    before = await objects(scene, batch_id)
    redis = open_redis(scene.redis.url)
    assert (await clean(scene.store, redis, Ledger(redis), 0.0)).batches == []
    assert await objects(scene, batch_id) == before
    await redis.aclose()


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2592000), ("12h", 43200), ("0s", 0), ("2w", 1209600)])
def test_ages(text: str, seconds: int) -> None:
    assert age_of(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "1.5h", "30 d", "30y", "٣d"])
def test_what_is_no_age_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is no age"):
        age_of(text)
