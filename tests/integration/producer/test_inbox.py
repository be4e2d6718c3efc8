"""The bucket door, on a folder and on a bucket: what is taken, what is not, and what the uploader sees."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zstandard
from redis.asyncio import Redis

from bucketline import keys
from bucketline.batch import BatchDocument, State
from bucketline.connect import connect_redis
from bucketline.ledger import Ledger
from bucketline.settings import Settings
from bucketline.store import NotFound, Store, open_store
from producer.inbox import Inbox, run_inbox
from producer.outbox import Outbox
from tests.unit.producer.lines_for_tests import SETTINGS, chat_line

ENV = {"ALPHA_API_KEY": "a"}
QUICK = {"poll_s": 0.05, "settle_s": 0.0, "status_s": 0.05}


def settings_with(**inbox: object) -> Settings:
    return SETTINGS.model_copy(update={"inbox": SETTINGS.inbox.model_copy(update={**QUICK, **inbox})})


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = await connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(params=["folder", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "folder":
        address = str(tmp_path / "store")
    else:
        address = f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix"
    opened = open_store(address)
    yield opened
    await opened.close()


@pytest.fixture
def watcher(store: Store, redis: Redis) -> Callable[..., Inbox]:
    def make(settings: Settings | None = None, *, env: dict[str, str] = ENV) -> Inbox:
        settings = settings or settings_with()
        return Inbox(store, redis, settings, Outbox(store, redis, every_s=0.05), env=env)

    return make


@pytest.fixture
def publisher(store: Store, redis: Redis) -> Outbox:
    """Whoever of the fleet fills the outbox."""
    return Outbox(store, redis, every_s=0.05)


async def batches(store: Store) -> list[BatchDocument]:
    found = [
        BatchDocument.model_validate_json(await store.get(stat.key))
        async for stat in store.list("batches/")
        if stat.key.endswith("/batch.json")
    ]
    return sorted(found, key=lambda document: document.created_s)


async def outbox(store: Store, name: str) -> dict:
    """The JSON files of a name's folder."""
    found = {}
    async for stat in store.list(f"outbox/{name}/"):
        if stat.key.endswith(".json"):
            found[stat.key.rsplit("/", 1)[-1]] = json.loads(await store.get(stat.key))
    return found


async def end(store: Store, redis: Redis, batch_id: str) -> None:
    """Finish a batch as the line of workers would."""
    await store.put(f"batches/{batch_id}/output.jsonl", b'{"custom_id": 1}\n')
    await store.put(f"batches/{batch_id}/errors.jsonl", b"")
    await store.put(f"batches/{batch_id}/manifest.json", json.dumps({"id": batch_id}).encode())
    ledger = Ledger(redis)
    await ledger.move(batch_id, State.FINALIZING)
    await ledger.finish(batch_id, State.COMPLETED, 5.0)


@pytest.mark.parametrize(
    ("name", "pack"),
    [("x.jsonl", bytes), ("x.jsonl.gz", gzip.compress), ("a b+c%20/é~ü.jsonl.zst", zstandard.compress)],
    ids=["plain", "gzip", "zstd under an odd key"],
)
async def test_an_upload_becomes_one_batch_however_often_it_is_seen(name, pack, store, redis, watcher):
    """Watchers come and go and Redis forgets; the same version is never paid for twice."""
    key = f"inbox/{name}"
    await store.put(key, pack(chat_line(1) + b"\n"))
    await asyncio.gather(*(watcher().once() for _ in range(3)))
    await watcher().once()
    (document,) = await batches(store)
    assert (document.source, document.lines) == (key, 1)

    await redis.flushall()
    await watcher().once()
    assert await batches(store) == [document]
    assert (await store.stat(key)).size_bytes > 0  # the upload stays where it was


async def test_other_content_under_the_same_key_is_a_new_batch_and_the_same_content_is_not(
    store, redis, watcher, publisher
):
    one = watcher()
    await store.put("inbox/x.jsonl", chat_line(1))
    await one.once()
    await end(store, redis, (await batches(store))[0].id)
    await publisher.publish(wait=True)
    assert (await outbox(store, "x"))["status.json"]["status"] == "completed"

    await store.put("inbox/x.jsonl", chat_line(2))
    await one.once()
    first, second = await batches(store)
    await publisher.publish(wait=True)
    seen = await outbox(store, "x")
    assert "manifest.json" not in seen, "the first version's results must not pass for the second's"
    assert (seen["status.json"]["id"], seen["status.json"]["status"]) == (second.id, "in_progress")
    assert await store.get(f"batches/{first.id}/output.jsonl")


async def test_results_come_to_the_outbox_and_the_manifest_after_them(store, redis, watcher, publisher):
    one = watcher()
    await store.put("inbox/nightly/x.jsonl", chat_line(1))
    await one.once()
    (document,) = await batches(store)
    await publisher.publish(wait=True)
    assert (await outbox(store, "nightly/x"))["status.json"]["counts"]["total"] == 1
    await end(store, redis, document.id)
    await publisher.publish(wait=True)
    seen = await outbox(store, "nightly/x")
    assert seen["manifest.json"] == {"id": document.id}
    assert seen["status.json"]["status"] == "completed"
    assert await store.get("outbox/nightly/x/output.jsonl") == b'{"custom_id": 1}\n'
    assert await redis.hlen(keys.INBOX) == 0


async def test_what_is_under_way_is_found_again_when_redis_forgot_it(store, redis, watcher):
    """The uploader sees only the bucket: results that never arrive there are lost to them."""
    await store.put("inbox/x.jsonl", chat_line(1))
    await watcher().once()
    (document,) = await batches(store)
    await redis.flushall()
    await Ledger(redis).register(document)
    await end(store, redis, document.id)
    fresh = Outbox(store, redis, every_s=0.05)
    await fresh.recall()
    await fresh.publish(wait=True)
    assert "manifest.json" in await outbox(store, "x")


async def test_a_file_that_is_no_batch_is_told_why_and_stops_no_other(store, redis, watcher):
    await store.put("inbox/bad.jsonl", b"[1]\n" * 150)
    await store.put("inbox/empty.jsonl", b"")
    await store.put("inbox/cut.jsonl.gz", gzip.compress(chat_line(1))[:-9])
    await store.put("inbox/twice.jsonl", chat_line(1) + b"\n" + chat_line(1))
    await store.put("inbox/odd.jsonl", chat_line(1), metadata={"bucketline-priority": "many"})
    await store.put("inbox/good.jsonl", chat_line(1), metadata={"bucketline-priority": "8"})
    await store.put("inbox/marker/", b"")
    await store.put("inbox/x.jsonl.part", chat_line(1))
    await watcher().once()
    (document,) = await batches(store)
    assert (document.source, document.options.priority) == ("inbox/good.jsonl", 8)

    rejected = (await outbox(store, "bad"))["rejected.json"]
    assert rejected["source"] == "inbox/bad.jsonl"
    assert "None of the 150 lines" in rejected["reason"]
    assert len(rejected["faults"]) == 100
    assert rejected["faults"][1]["line"] == 2
    assert rejected["faults"][1]["byte"] == 4
    assert (await outbox(store, "bad"))["status.json"]["status"] == "rejected"
    assert "is empty" in (await outbox(store, "empty"))["rejected.json"]["reason"]
    assert "ends in the middle" in (await outbox(store, "cut"))["rejected.json"]["reason"]
    assert "Lines 1 and 2" in (await outbox(store, "twice"))["rejected.json"]["reason"]
    assert "priority" in (await outbox(store, "odd"))["rejected.json"]["reason"]
    assert await redis.zcard(keys.SUBMITTING) == 0

    await store.put("inbox/empty.jsonl", chat_line(2))
    await watcher().once()
    assert len(await batches(store)) == 2
    assert "rejected.json" not in await outbox(store, "empty")


async def test_a_rejected_file_put_again_is_looked_at_again(store, redis, watcher):
    """Whoever mends the configuration and uploads the same bytes expects an answer."""
    await store.put("inbox/x.jsonl", chat_line(1, model="unheard-of"))
    await watcher().once()
    assert await batches(store) == []
    richer = settings_with().model_copy(update={"models": {**SETTINGS.models, "unheard-of": SETTINGS.models["small"]}})
    await watcher(richer).once()
    assert await batches(store) == []
    await asyncio.sleep(1.1)  # S3 tells times in whole seconds
    await store.put("inbox/x.jsonl", chat_line(1, model="unheard-of"))
    await watcher(richer).once()
    assert len(await batches(store)) == 1


async def test_what_the_operator_must_mend_is_told_and_tried_again(store, redis, watcher):
    await store.put("inbox/x.jsonl", chat_line(1))
    await watcher(env={}).once()
    assert "ALPHA_API_KEY" in (await outbox(store, "x"))["rejected.json"]["reason"]
    await watcher().once()
    assert len(await batches(store)) == 1
    assert "rejected.json" not in await outbox(store, "x")


async def test_options_come_from_the_file_beside_it(store, redis, watcher):
    await store.put("inbox/x.jsonl.gz", gzip.compress(chat_line(1)))
    await store.put("inbox/x.options.toml", b'window = "2h"\n[metadata]\nteam = "blue"\n')
    await watcher().once()
    (document,) = await batches(store)
    assert (document.options.window_s, document.options.metadata) == (7200.0, {"team": "blue"})


async def test_two_objects_of_one_name_keep_apart(store, redis, watcher):
    await store.put("inbox/x.jsonl", chat_line(1))
    await watcher().once()
    await store.put("inbox/x.jsonl.gz", gzip.compress(chat_line(1)))
    await watcher().once()
    sources = {(await outbox(store, name))["status.json"]["source"] for name in ("x", "x.jsonl.gz")}
    assert sources == {"inbox/x.jsonl", "inbox/x.jsonl.gz"}


async def test_an_object_replaced_while_it_is_read_is_taken_in_its_new_version_alone(
    store, redis, watcher, monkeypatch
):
    """Half of the one and half of the other would be a batch that nobody asked for."""
    await store.put("inbox/x.jsonl", chat_line("old"))
    one = watcher()
    look = one._taker._toml

    async def replace_then_look(found):
        await store.put("inbox/x.jsonl", chat_line("new"))
        monkeypatch.setattr(one._taker, "_toml", look)
        return await look(found)

    monkeypatch.setattr(one._taker, "_toml", replace_then_look)
    await one.once()
    (document,) = await batches(store)
    assert b'"new"' in await store.get(f"batches/{document.id}/input.jsonl")


async def test_an_upload_whose_watcher_died_is_taken_by_another(store, redis, watcher):
    from producer.claims import source_digest

    await store.put("inbox/x.jsonl", chat_line(1))
    stat = await store.stat("inbox/x.jsonl")
    await redis.set(keys.source_claim(source_digest("inbox", stat.key, stat.etag)), "batch_dead")
    await redis.zadd(keys.SUBMITTING, {"batch_dead": 1.0})
    await watcher().once()
    assert len(await batches(store)) == 1


async def test_many_objects_are_each_taken_once_by_three_watchers(store, redis, monkeypatch):
    monkeypatch.setenv("ALPHA_API_KEY", "a")
    count = 60
    for number in range(count):
        await store.put(f"inbox/{number:04d}.jsonl", chat_line(number))
    stop = asyncio.Event()
    watchers = [asyncio.create_task(run_inbox(store, redis, settings_with(), stop)) for _ in range(3)]
    try:
        async with asyncio.timeout(120):
            while await redis.zcard(keys.BATCHES) < count:
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await asyncio.gather(*watchers)
    found = await batches(store)
    assert sorted(document.source for document in found) == [f"inbox/{n:04d}.jsonl" for n in range(count)]


async def test_a_growing_file_is_waited_for(redis, tmp_path):
    """Copies into a shared folder grow in sight; only what has been still for a moment is whole."""
    store = open_store(str(tmp_path / "store"))
    file = tmp_path / "store" / "inbox" / "x.jsonl"
    file.parent.mkdir(parents=True)
    now_s = [100.0]
    settings = settings_with(settle_s=2.0)
    one = Inbox(
        store, redis, settings, Outbox(store, redis, every_s=1.0), env=ENV, monotonic=lambda: now_s[0],
    )  # fmt: skip
    for number in range(4):
        with file.open("ab") as out:
            out.write(chat_line(number) + b"\n")
        await one.look()
        assert one._taking == {}
        now_s[0] += 1.0
    now_s[0] += 1.0
    await one.look()
    await asyncio.gather(*one._taking.values())
    (document,) = await batches(store)
    assert document.lines == 4
    with pytest.raises(NotFound):
        await store.get("outbox/x/rejected.json")
    await store.close()


async def test_claims_live_as_long_as_somebody_watches_what_they_are_on(store, redis):
    """An object may lie in the inbox for years, and its batch must not be paid for again each month."""
    now_s = [0.0]
    outbox = Outbox(store, redis, every_s=1.0)
    one = Inbox(store, redis, settings_with(), outbox, env=ENV, monotonic=lambda: now_s[0])
    await store.put("inbox/x.jsonl", chat_line(1))
    await one.once()
    (claim,) = await redis.keys("bl:source:*")
    await redis.expire(claim, 100)
    await one.look()
    assert await redis.ttl(claim) <= 100
    now_s[0] += 86401.0
    await one.look()
    assert await redis.ttl(claim) > 86400
    assert len(await batches(store)) == 1


async def test_a_notice_through_sqs_has_the_inbox_looked_at_at_once(redis, s3_bucket, s3_server, monkeypatch):
    """With notices the inbox need hardly be listed; a poll of an hour would otherwise be the wait."""
    import boto3

    monkeypatch.setenv("ALPHA_API_KEY", "a")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", s3_server)
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="uploads")["QueueUrl"]
    store = open_store(f"s3://{s3_bucket}")
    stop = asyncio.Event()
    watching = asyncio.create_task(run_inbox(store, redis, settings_with(poll_s=3600.0, sqs_url=url), stop))
    try:
        async with asyncio.timeout(120):
            await store.put("inbox/x.jsonl", chat_line(1))
            while not await redis.zcard(keys.BATCHES):
                await asyncio.to_thread(sqs.send_message, QueueUrl=url, MessageBody="{}")
                await asyncio.sleep(0.2)
    finally:
        stop.set()
        await watching
        sqs.close()
        await store.close()
    assert await redis.zcard(keys.BATCHES) == 1
