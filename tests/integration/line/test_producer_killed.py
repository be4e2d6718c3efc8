"""SIGKILL of the producer at fifty random points of a submit: either there is no batch, or it completes.

Afterwards every input is submitted once more under the same idempotency key, as a supervisor would: each gives one batch, the one
that was made or a new one, and none is made twice.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import orjson
import pytest

from bucketline.connect import open_redis
from bucketline.settings import Settings
from bucketline.store import open_store
from producer.intake import submit
from tests.integration.line.weathered import Scene, a_scene

POINTS = 50
LINES = 12


def _submit(settings: Settings, source: str, key: str, told: Connection) -> None:
    """In a process of its own: say when it begins, submit, say that it is done."""
    os.environ["SIM_KEY"] = "sk-sim"
    asyncio.run(_submitted(settings, source, key, told))


async def _submitted(settings: Settings, source: str, key: str, told: Connection) -> None:
    redis, store = open_redis(str(settings.redis_url)), open_store(str(settings.store))
    told.send("begins")
    document = await submit(source, store, redis, settings, idempotency_key=key)
    told.send(document.id)
    await redis.aclose()
    await store.close()


@pytest.mark.slow
async def test_never_half_a_batch(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["producer.intake", "bucketline.connect", "bucketline.store", __name__])
    async with a_scene(tmp_path, latency_s=0.0, concurrency=50) as scene:
        settings = scene.settings.model_copy(update={"redis_url": scene.redis.url})
        source = tmp_path / "in.jsonl"
        source.write_bytes(b"".join(orjson.dumps(scene.line(n)) + b"\n" for n in range(1, LINES + 1)))
        took_s = await asyncio.to_thread(_whole, context, settings, str(source))
        dice = random.Random(11)
        keys: list[str] = []
        killed = 0
        while killed < POINTS:  # who was done before the kill shows nothing
            keys.append(f"key-{len(keys)}")
            killed += await asyncio.to_thread(
                _cut_off, context, settings, str(source), keys[-1], dice.uniform(0.0, took_s)
            )
        await _all_complete(scene, settings, str(source), keys)


def _whole(context: ForkServerContext, settings: Settings, source: str) -> float:
    """How long a submit takes when nobody kills it, the middle of three."""
    times = []
    for n in range(3):
        here, there = context.Pipe()
        process = context.Process(target=_submit, args=(settings, source, f"whole-{n}", there))
        process.start()
        assert here.recv() == "begins"
        began_s = time.monotonic()
        here.recv()
        times.append(time.monotonic() - began_s)
        process.join()
    return sorted(times)[1]


def _cut_off(context: ForkServerContext, settings: Settings, source: str, key: str, after_s: float) -> bool:
    here, there = context.Pipe()
    process = context.Process(target=_submit, args=(settings, source, key, there))
    process.start()
    assert here.recv() == "begins"
    time.sleep(after_s)
    process.kill()
    process.join()
    return not here.poll()


async def _all_complete(scene: Scene, settings: Settings, source: str, keys: Sequence[str]) -> None:
    await scene.start()
    redis = open_redis(scene.redis.url)
    async with asyncio.timeout(120):
        documents = await asyncio.gather(
            *(submit(source, scene.store, redis, settings, idempotency_key=key) for key in keys)
        )
    for document in documents:
        manifest, answered, failed = await scene.results(document.id, within_s=120)
        assert (manifest["counts"]["total"], len(answered), failed) == (LINES, LINES, [])
    stored = {stat.key.split("/")[1] async for stat in scene.store.list("batches/") if stat.key.endswith("/batch.json")}
    assert stored >= {document.id for document in documents}
    assert len(stored) == len(keys) + 3, "a key that was given twice made two batches"
    for batch_id in stored:
        await scene.results(batch_id, within_s=120)
    assert scene.calls == LINES * len(stored)
    await redis.aclose()
