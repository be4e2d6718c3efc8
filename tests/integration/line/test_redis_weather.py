"""Redis in bad weather: workers live on, calls in flight land and their answers wait; nothing is bought twice.

In each of these the provider's books must show one answer a line: whatever happened to Redis, an answer that a living worker had in
hand, recorded or not, was not asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bucketline.ledger import Ledger, ShardGroup
from bucketline.outcome import Outcome, encode_outcome
from bucketline.part import Entry
from tests.integration.line.weathered import Scene, a_scene
from worker.record import deltas_of

LINES = 120
LINES_OF_A_SHARD = 25  #: of the first


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path) as scene:
        yield scene


async def restart(scene: Scene) -> None:
    await scene.redis.stop()
    await asyncio.sleep(1.0)
    await scene.redis.start()


async def set_back(scene: Scene) -> None:
    """A crash that loses the last second, or a fail-over to a replica that lagged behind."""
    await scene.redis.set_back(0.3)


async def emptied(scene: Scene) -> None:
    async with scene.client() as redis:
        await redis.flushall()


async def cut(scene: Scene) -> None:
    for _ in range(5):
        scene.wire.cut()
        await asyncio.sleep(0.2)


async def away_for_three_seconds(scene: Scene) -> None:
    await scene.wire.away(3.0)


async def away_for_longer_than_a_lease(scene: Scene) -> None:
    await scene.wire.away(2.5 * scene.settings.worker.lease_s)


async def silent(scene: Scene) -> None:
    """Packets vanish and nobody is told; what was sent arrives later, answers and all."""
    await scene.wire.silent(2.5 * scene.settings.worker.lease_s)


async def became_a_replica(scene: Scene) -> None:
    """What a fail-over looks like to those who are still connected to the old primary."""
    async with scene.client() as redis:
        await redis.replicaof("127.0.0.1", "1")
        await asyncio.sleep(2.0)
        await redis.replicaof("NO", "ONE")


async def out_of_memory(scene: Scene) -> None:
    async with scene.client() as redis:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used)
        await asyncio.sleep(3.0)
        await redis.config_set("maxmemory", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "strike",
    [
        restart,
        set_back,
        emptied,
        cut,
        away_for_three_seconds,
        away_for_longer_than_a_lease,
        silent,
        became_a_replica,
        out_of_memory,
    ],
)
async def test_no_answer_is_lost_or_bought_twice(scene: Scene, strike: Callable[[Scene], Awaitable[None]]) -> None:
    await scene.start()
    batch_id = await scene.submit(LINES)
    await scene.until(batch_id, LINES // 4)
    await strike(scene)
    manifest, answered, failed = await scene.results(batch_id)
    assert sorted(row["bucketline"]["line"] for row in answered) == list(range(1, LINES + 1))
    assert not failed
    assert scene.calls == LINES
    books = scene.simulator.books()["totals"]
    assert manifest["cost"]["usd"] == books["usd"].rstrip("0") or float(manifest["cost"]["usd"]) == float(books["usd"])
    assert manifest["counts"]["completed"] == LINES


async def in_isolation(scene: Scene) -> str:
    """A batch of one shard that is tried in small groups, since three workers died with it; the first group has passed."""
    batch_id = await scene.submit(LINES_OF_A_SHARD)
    async with scene.client() as redis:
        ledger = Ledger(redis)
        for owner in ("one", "two", "three"):
            assert await ledger.claim(batch_id, 0, 1, LINES_OF_A_SHARD, owner) is not None
        await ledger.weigh(batch_id, 0, range(1, LINES_OF_A_SHARD + 1), 1)
    await scene.start()
    await scene.until(batch_id, 8)
    return batch_id


@pytest.mark.slow
async def test_a_shard_in_isolation_keeps_its_answers_while_redis_is_away(scene: Scene) -> None:
    """Between two groups it must tell Redis; a shard that ended there would leave its answers to a Redis that forgets them."""
    batch_id = await in_isolation(scene)
    async with scene.client() as redis:
        away = asyncio.create_task(scene.wire.away(3.0))
        await asyncio.sleep(1.0)
        await redis.flushall()
        await away
    _, answered, failed = await scene.results(batch_id)
    assert (len(answered), failed) == (LINES_OF_A_SHARD, [])
    assert scene.calls == LINES_OF_A_SHARD


@pytest.mark.slow
async def test_isolation_asks_nothing_that_another_claim_recorded_meanwhile(scene: Scene) -> None:
    """Groups wait for their turn: a worker that was cut off may come back with the answers of those that are still to come."""
    batch_id = await in_isolation(scene)
    async with scene.client() as redis:
        late = [
            Outcome(
                line=n,
                custom_id=f"l{n}",
                requested_model="m",
                code=None,
                message=None,
                attempts=(),
                status=200,
                body=b"{}",
            )
            for n in range(20, LINES_OF_A_SHARD + 1)
        ]
        entries = [Entry(one.line, True, encode_outcome(batch_id, one)) for one in late]
        await Ledger(redis).record(batch_id, [ShardGroup(0, entries, [deltas_of(one) for one in late])])
    _, answered, failed = await scene.results(batch_id)
    assert (len(answered), failed) == (LINES_OF_A_SHARD, [])
    assert scene.calls == LINES_OF_A_SHARD - len(late)


@pytest.mark.slow
async def test_a_batch_that_nobody_has_open_comes_back_after_redis_was_emptied(scene: Scene) -> None:
    """Not even its tickets are left; the mark in the store is."""
    batch_id = await scene.submit(5)
    await emptied(scene)
    await scene.start()
    manifest, _, _ = await scene.results(batch_id)
    assert manifest["counts"]["completed"] == 5
    async with asyncio.timeout(10):
        while [stat async for stat in scene.store.list("unfinished/")]:
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_worker_that_ends_while_redis_is_away_leaves_its_answers_in_the_store(tmp_path: Path) -> None:
    """What landed is paid for: whoever has the shard next finds it in a part that Redis never heard of."""
    async with a_scene(tmp_path, latency_s=1.0, grace_s=2) as scene:
        await scene.start()
        batch_id = await scene.submit(20)
        await asyncio.sleep(0.7)  # all are in flight by then; none has landed
        away = asyncio.create_task(scene.wire.away(60))
        await asyncio.sleep(0.1)
        began_s = asyncio.get_running_loop().time()
        await scene.stop()
        assert asyncio.get_running_loop().time() - began_s < 30
        away.cancel()
        scene.wire._refusing = False
        landed = scene.calls
        assert landed > 0
        await scene.start()
        _, answered, _ = await scene.results(batch_id)
        assert len(answered) == 20
        assert scene.calls == 20
