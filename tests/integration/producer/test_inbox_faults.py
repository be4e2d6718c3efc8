"""The bucket door when something gives way: watchers that die, copies that fail, objects that change or cannot be read.

The bucket is moto's behind a gate that makes the weather; where a watcher dies it is a process, killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bucketline import keys
from bucketline.batch import BatchDocument, State
from bucketline.connect import connect_redis
from bucketline.ledger import Ledger
from bucketline.store import NotFound, Store, open_store
from producer.inbox import Inbox
from producer.outbox import Outbox
from tests.conformance.store.gate import PAGE, Gate, Weather
from tests.unit.producer.lines_for_tests import SETTINGS, chat_line

MIB = 1 << 20
ENV = {"ALPHA_API_KEY": "a"}


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = await connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def gate(s3_server: str) -> Iterator[Gate]:
    with Gate(s3_server) as running:
        yield running


@pytest.fixture
async def store(s3_bucket: str, gate: Gate) -> AsyncIterator[Store]:
    """The bucket, by way of the gate."""
    opened = open_store(f"s3://{s3_bucket}?endpoint={gate.address}")
    yield opened
    await opened.close()


@pytest.fixture
def watcher(store: Store, redis: Redis) -> Callable[..., Inbox]:
    def make(takes: int = 8) -> Inbox:
        inbox = SETTINGS.inbox.model_copy(update={"settle_s": 0.0, "poll_s": 0.05, "takes": takes})
        settings = SETTINGS.model_copy(update={"inbox": inbox})
        return Inbox(store, redis, settings, Outbox(store, redis, every_s=0.05), env=ENV)

    return make


@pytest.fixture
def publisher(store: Store, redis: Redis) -> Outbox:
    return Outbox(store, redis, every_s=0.05)


async def documents(store: Store) -> list[BatchDocument]:
    found = [f"batches/{batch_id}/batch.json" async for batch_id in store.folders("batches/")]
    raw = [await _get(store, name) for name in found]
    return [BatchDocument.model_validate_json(one) for one in raw if one is not None]


async def _get(store: Store, name: str) -> bytes | None:
    try:
        return await store.get(name)
    except NotFound:
        return None


async def end(store: Store, redis: Redis, batch_id: str) -> None:
    """Finish a batch as the line of workers would."""
    await store.put(f"batches/{batch_id}/output.jsonl", b'{"custom_id": 1}\n')
    await store.put(f"batches/{batch_id}/errors.jsonl", b"")
    await store.put(f"batches/{batch_id}/manifest.json", json.dumps({"id": batch_id}).encode())
    ledger = Ledger(redis)
    await ledger.move(batch_id, State.FINALIZING)
    await ledger.finish(batch_id, State.COMPLETED, 5.0)


@pytest.mark.parametrize("file", ["output.jsonl", "manifest.json", "status.json"])
async def test_results_whose_copying_failed_are_copied_in_the_next_round(file, store, gate, redis, watcher, publisher):
    """A manifest says that all is there; a store that refuses a copy for a while must not make it say so too soon."""
    await store.put("inbox/x.jsonl", chat_line(1))
    await watcher().once()
    (document,) = await documents(store)
    await end(store, redis, document.id)
    operation = "PutObject" if file == "status.json" else "CopyObject"
    gate.weather.append(Weather(operation, key=f"outbox/x/{file}", status=403, code="AccessDenied"))
    await publisher.publish(wait=True)
    assert (await _get(store, "outbox/x/manifest.json") is None) == (file != "status.json")
    assert json.loads(await store.get("outbox/x/status.json"))["status"] == "validating"

    await publisher.publish(wait=True)
    assert json.loads(await store.get("outbox/x/manifest.json")) == {"id": document.id}
    assert json.loads(await store.get("outbox/x/status.json"))["status"] == "completed"
    assert await store.get("outbox/x/output.jsonl") == b'{"custom_id": 1}\n'
    assert await redis.hlen(keys.INBOX) == 0


@pytest.mark.parametrize("last", ["outbox/x/status.json", "/input.jsonl", "unfinished/", "/batch.json"])
async def test_a_watcher_that_dies_after_its_claim_costs_nothing(
    last, store, gate, redis, redis_url, s3_bucket, watcher, publisher, work_folder
):
    """Killed at any of its writes: the object becomes one batch, and the uploader sees that one's results."""
    held = Weather("PutObject", key=last, hold=threading.Event())
    await store.put("inbox/x.jsonl", chat_line(1))
    gate.weather.append(held)
    dying = start_watcher(work_folder, gate, redis_url, s3_bucket)
    try:
        assert await asyncio.to_thread(held.held.wait, 240)
    finally:
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        held.hold.set()
    ((dead, _),) = await redis.zrange(keys.SUBMITTING, 0, -1, withscores=True)
    await redis.zadd(keys.SUBMITTING, {dead: 1.0})  # half a minute later

    await watcher().once()
    (document,) = await documents(store)
    assert (document.id == dead.decode()) == (last == "/batch.json"), "what has a document is never made anew"
    if last == "/batch.json":
        await Ledger(redis).register(document)  # as the sweep does
    await end(store, redis, document.id)
    await publisher.publish(wait=True)
    assert json.loads(await store.get("outbox/x/manifest.json")) == {"id": document.id}
    assert await redis.hlen(keys.INBOX) == 0


def start_watcher(folder: Path, gate: Gate, redis_url: str, bucket: str) -> subprocess.Popen[bytes]:
    lines = [
        f'redis_url = "{redis_url}"',
        f'store = "s3://{bucket}"',
        "[providers.alpha]",
        'base_url = "http://127.0.0.1:9/v1"',
        "[models.small]",
        'routes = [{ provider = "alpha", model = "small" }]',
        "[inbox]",
        "settle_s = 0.0",
    ]
    (folder / "bucketline.toml").write_text("\n".join(lines) + "\n")
    env = {**os.environ, "AWS_ENDPOINT_URL_S3": gate.address, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "inbox"], cwd=folder, env=env, stderr=subprocess.DEVNULL
    )


async def test_an_object_replaced_in_the_middle_of_its_reading_is_taken_in_its_new_version_alone(
    store, gate, redis, watcher, s3_client, s3_bucket
):
    """The connection breaks, and what goes on is another object: half of each would be a batch nobody asked for."""
    old, new = (b"\n".join(chat_line(f"{age}-{n}", "x" * 900) for n in range(6000)) for age in ("old", "new"))
    await store.put("inbox/x.jsonl", old)
    held = Weather("GetObject", key="inbox/x.jsonl", cut_after=2 * MIB, hold=threading.Event())
    gate.weather.append(held)
    taking = asyncio.create_task(watcher().once())
    assert await asyncio.to_thread(held.held.wait, 240)
    await asyncio.to_thread(s3_client.put_object, Bucket=s3_bucket, Key="inbox/x.jsonl", Body=new)
    held.hold.set()
    await taking
    (document,) = await documents(store)
    assert await store.get(f"batches/{document.id}/input.jsonl") == new
    assert json.loads(await store.get("outbox/x/status.json"))["id"] == document.id


async def test_an_object_that_cannot_be_read_stops_no_other(store, gate, redis, watcher):
    """Somebody else's encryption key, or an archive tier: tried again and again, while the others are taken."""
    for name in ("a", "locked", "z"):
        await store.put(f"inbox/{name}.jsonl", chat_line(name))
    locked = Weather("GetObject", key="inbox/locked.jsonl", times=1_000_000, status=403, code="AccessDenied")
    gate.weather.append(locked)
    await watcher().once()
    assert {document.source for document in await documents(store)} == {"inbox/a.jsonl", "inbox/z.jsonl"}
    locked.times = 0
    await watcher().once()
    assert len(await documents(store)) == 3


async def test_a_batch_that_makes_no_sense_silences_no_other(store, redis, watcher, publisher):
    """One leader publishes for the whole fleet: what breaks it would hide everybody's results."""
    await store.put("inbox/a.jsonl", chat_line(1))
    await store.put("inbox/b.jsonl", chat_line(2))
    await watcher().once()
    odd, sound = sorted(await documents(store), key=lambda document: document.source)
    await redis.delete(keys.batch_hash(odd.id))
    await store.put(f"batches/{odd.id}/batch.json", b"{}")
    await end(store, redis, sound.id)
    await publisher.publish(wait=True)
    assert json.loads(await store.get("outbox/b/manifest.json")) == {"id": sound.id}


async def test_objects_over_many_pages_of_the_listing_are_each_taken_once_with_their_options(
    store, gate, redis, watcher
):
    """An object and the options beside it may stand on two pages, and watchers see the pages at different moments."""
    count = 15
    for number in range(count):
        await store.put(f"inbox/{number:02d}.jsonl", chat_line(number))
        await store.put(f"inbox/{number:02d}.options.toml", f"priority = {number % 10}".encode())
    gate.seen.clear()
    await asyncio.gather(*(watcher().once() for _ in range(3)))
    assert gate.seen["ListObjectsV2"] >= 3 * -(-2 * count // PAGE)
    taken = {document.source: document.options.priority for document in await documents(store)}
    assert taken == {f"inbox/{number:02d}.jsonl": number % 10 for number in range(count)}
    assert len(await documents(store)) == count


async def test_a_watcher_told_to_stop_ends_what_it_has_begun_and_leaves_the_rest_to_others(store, gate, redis, watcher):
    """A deployment must not wait until thousands of objects are taken, nor lose one of them."""
    count = 12
    for number in range(count):
        await store.put(f"inbox/{number}.jsonl", chat_line(number))
    held = Weather("PutObject", key="/batch.json", hold=threading.Event())
    gate.weather.append(held)
    one = watcher(takes=1)
    await one.look()
    assert await asyncio.to_thread(held.held.wait, 240)
    closing = asyncio.create_task(one.close())
    await asyncio.sleep(0)
    held.hold.set()
    await closing
    assert len(await documents(store)) == 1
    await watcher().once()
    assert len(await documents(store)) == count


async def test_what_was_forgotten_is_looked_for_until_the_store_lets_it(store, gate, redis, watcher, publisher):
    """Redis was emptied and the store is in bad weather: whoever begins to publish must not give up after one look."""
    await store.put("inbox/x.jsonl", chat_line(1))
    await watcher().once()
    (document,) = await documents(store)
    await redis.flushall()
    await Ledger(redis).register(document)
    await end(store, redis, document.id)
    gate.weather.append(Weather("ListObjectsV2", status=403, code="AccessDenied"))
    stop = asyncio.Event()
    publishing = asyncio.create_task(publisher.run(stop))
    try:
        async with asyncio.timeout(240):
            while await _get(store, "outbox/x/manifest.json") is None:
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await publishing
