"""A million queued lines cost those who look no more than a thousand; and looking costs Redis little."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from bucketline import keys
from bucketline.batch import BatchDocument, BatchOptions
from bucketline.connect import open_redis
from bucketline.ledger import Ledger
from bucketline.queue import enqueue_shards
from bucketline.settings import Settings
from bucketline.shard import Shard
from bucketline.sign import Sign, Wait, write_sign
from producer.client import Producer
from producer.monitor import MOST, Monitor, Snapshot
from producer.timeleft import going
from producer.top.app import TopApp
from tests.unit.watching.test_top import Deeds

LINES_A_SHARD = 200


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[ArqRedis]:
    client = open_redis(redis_url)
    yield client
    await client.aclose()


async def queued(redis: ArqRedis, batch_id: str, lines: int) -> None:
    """A batch of so many lines, every shard of which waits on the queue."""
    shards = [Shard(n, 1 + n * LINES_A_SHARD, n * 30_000, 30_000, LINES_A_SHARD) for n in range(lines // LINES_A_SHARD)]
    document = BatchDocument(
        id=batch_id, source="large.jsonl", created_s=time.time(), options=BatchOptions(), lines=lines, rejected=0,
        last_line=lines, input_bytes=30_000 * len(shards), input_sha256="",
        shards=[(s.first_line, s.offset_bytes, s.size_bytes, s.lines) for s in shards],
    )  # fmt: skip
    await Ledger(redis).register(document)
    await enqueue_shards(redis, batch_id, shards, 5)


async def fleet(redis: Redis, workers: int, scopes: int) -> None:
    """Signs of workers and states of scopes, as a large fleet leaves them."""
    seconds, _ = await redis.time()
    for n in range(workers):
        waits = tuple(Wait(f"batch_{k}", "permit", f"scope{k}", 100) for k in range(20))
        sign = Sign(f"w{n}", float(seconds), float(seconds), 900, 1000, 3000, 15, 0.5, 1 << 27, waits=waits)
        await redis.hset(keys.worker_hash(f"w{n}"), mapping=write_sign(sign))  # type: ignore[misc]
        await redis.zadd(keys.WORKERS, {f"w{n}": seconds})
    for n in range(scopes):
        await redis.sadd(keys.SCOPES, f"scope{n}")  # type: ignore[misc]
        await redis.hset(keys.limit_figures(f"scope{n}"), mapping={"rpm": 600})  # type: ignore[misc]
        slots = {f"{letter}:{slot}": 7 for letter in "qtio" for slot in range(243)}
        await redis.hset(keys.gate_state(f"scope{n}"), mapping={**slots, "q.sum": 1701})  # type: ignore[misc]


async def best_s(times: int, **steps: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """The shortest of some runs of each, in turn: what each takes when nothing else is in the way."""
    found = dict.fromkeys(steps, 1e9)
    for _ in range(times):
        for name, step in steps.items():
            began = time.perf_counter()
            await step()
            found[name] = min(found[name], time.perf_counter() - began)
    return found


async def test_status_and_top_do_not_feel_a_million_lines(redis_url: str, tmp_path: Path) -> None:
    """Two databases of one server, one with a thousand lines, one with a million, looked at in turn."""
    async with contextlib.AsyncExitStack() as stack:
        steps: dict[str, Callable[[], Awaitable[object]]] = {}
        for name, database, lines in (("small", 0, 1000), ("large", 1, 1_000_000)):
            settings = Settings(redis_url=redis_url.replace("db=0", f"db={database}"), store=str(tmp_path))
            producer = await stack.enter_async_context(Producer(settings=settings))
            redis = await producer.redis()
            await queued(redis, f"batch_{name}", lines)
            assert await redis.zcard(keys.QUEUE) == lines // LINES_A_SHARD

            async def status(producer: Producer = producer) -> None:
                await going(await producer.redis(), await producer.recent())

            steps[f"status_{name}"] = status
            steps[f"look_{name}"] = Monitor(redis).look
        took = await best_s(15, **steps)
    print({name: f"{1000 * one:.1f} ms" for name, one in took.items()})  # noqa: T201
    assert took["status_large"] < 4 * took["status_small"]
    assert took["look_large"] < 4 * took["look_small"]


async def test_a_second_of_looking_is_less_than_fifty_small_commands(redis: ArqRedis, redis_client: Redis) -> None:
    """With a million lines, sixty batches, twenty workers and thirty scopes nothing is left out; it only takes its turn."""
    await queued(redis, "batch_large", 1_000_000)
    for n in range(59):
        await queued(redis, f"batch_{n:03d}", 400)
    await fleet(redis_client, 20, 30)
    now_s = 0.0
    monitor = Monitor(redis, [f"p{n}/m" for n in range(20)], monotonic=lambda: now_s)
    await monitor.look()
    seconds = 12
    before = int((await redis_client.info("stats"))["total_commands_processed"])
    snapshot = None
    for _ in range(seconds):
        now_s += 1.0
        snapshot = await monitor.look()
    spent = int((await redis_client.info("stats"))["total_commands_processed"]) - before
    print(f"{spent / seconds:.1f} commands a second")  # noqa: T201
    assert spent <= seconds * (MOST + 1)
    assert snapshot is not None
    assert (len(snapshot.batches), len(snapshot.workers), len(snapshot.gauges)) == (60, 20, 30)


async def test_top_follows_every_second(redis: ArqRedis) -> None:
    """With a million lines on the queue, and drawing included."""
    await queued(redis, "batch_large", 1_000_000)
    await fleet(redis, 20, 30)
    monitor, looks = Monitor(redis), []

    async def look() -> Snapshot:
        looks.append(time.monotonic())
        return await monitor.look()

    app = TopApp(look, Deeds())
    async with app.run_test(size=(80, 24)) as pilot:
        ends_s = time.monotonic() + 30
        while len(looks) < 4 and time.monotonic() < ends_s:
            await pilot.pause(0.05)
    gaps = [later - earlier for earlier, later in pairwise(looks)]
    print("looks", " ".join(f"{gap:.2f} s" for gap in gaps))  # noqa: T201
    assert len(looks) >= 4
    assert min(gaps) < 2.0
