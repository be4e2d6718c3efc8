"""Who is told of a batch's end, how it is signed, and that it is told until it is heard."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bucketline import keys
from bucketline.connect import connect_redis
from bucketline.errors import ConfigError
from bucketline.settings import WebhookSettings
from bucketline.store import Store, open_store
from producer.inbox import run_inbox
from producer.webhooks import Webhooks, signature, webhooks_of
from tests.integration.line.answering import answering
from tests.integration.producer.test_inbox import batches, end, settings_with
from tests.unit.producer.lines_for_tests import chat_line

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = await connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store(str(tmp_path / "store"))
    yield opened
    await opened.close()


def test_a_signature_is_the_one_of_the_specifications_example() -> None:
    """The example of the Standard Webhooks' own libraries; a receiver's library must accept ours."""
    secret = base64.b64decode(SECRET.removeprefix("whsec_"))
    told = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_the_end_of_a_batch_and_a_refusal_are_told_signed(store: Store, redis: Redis, monkeypatch: Any) -> None:
    monkeypatch.setenv("ALPHA_API_KEY", "a")
    monkeypatch.setenv("BUCKETLINE_WEBHOOK_SECRET", SECRET)
    stop = asyncio.Event()
    async with answering(lambda call: (204, {}, None)) as server:
        settings = settings_with().model_copy(update={"webhook": WebhookSettings(url=f"{server.url}/hook")})
        await store.put("inbox/a/x.jsonl", chat_line(1) + b"\n")
        await store.put("inbox/bad.jsonl", b"no json\n")
        watching = asyncio.create_task(run_inbox(store, redis, settings, stop))
        async with asyncio.timeout(20):
            while not (found := await batches(store)) or not await redis.exists(keys.batch_hash(found[0].id)):
                await asyncio.sleep(0.05)
            await end(store, redis, found[0].id)
            while len(server.calls) < 2 or await redis.hlen(keys.WEBHOOKS):
                await asyncio.sleep(0.05)
        stop.set()
        await watching
    secret = base64.b64decode(SECRET.removeprefix("whsec_"))
    told = {}
    for call in server.calls:
        stamp = int(call.headers["webhook-timestamp"])
        assert call.headers["webhook-signature"] == signature(secret, call.headers["webhook-id"], stamp, call.body)
        message = json.loads(call.body)
        told[message["type"]] = message["data"]
    assert told["batch.completed"]["id"] == found[0].id
    assert told["batch.completed"]["name"] == "a/x"
    assert told["batch.rejected"]["source"] == "inbox/bad.jsonl"


async def test_what_is_not_heard_is_told_again_later_and_later_under_one_id(redis: Redis) -> None:
    statuses, now_s, sent = [500, 0, 302, 200], 1000.0, []

    def post(url: str, body: bytes, headers: Any) -> int:
        sent.append((now_s, headers["webhook-id"], body))
        return statuses.pop(0)

    def clock() -> float:
        return now_s

    hooks = Webhooks(redis, "http://x", [b"s"], clock=clock, post=post)
    await hooks.add("batch_1", "batch.completed", {"id": "batch_1"})
    await hooks.add("batch_1", "batch.completed", {"id": "batch_1"})
    for now_s in (1000.0, 1004.0, 1006.0, 1200.0, 1400.0, 1500.0, 3300.0, 9999.0):  # noqa: B007 - the clock reads it
        # another process each time: what is to be told lies in Redis
        hooks = Webhooks(redis, "http://x", [b"s"], clock=clock, post=post)
        await hooks.tell(wait=True)
    assert [at for at, _, _ in sent] == [1000.0, 1006.0, 1400.0, 3300.0]
    assert len({(message_id, body) for _, message_id, body in sent}) == 1
    assert await redis.hlen(keys.WEBHOOKS) == 0


@pytest.mark.parametrize(("status", "tries"), [(410, 1), (500, 10)])
async def test_telling_ends(redis: Redis, status: int, tries: int) -> None:
    now_s, sent = 0.0, 0

    def post(*_: Any) -> int:
        nonlocal sent
        sent += 1
        return status

    hooks = Webhooks(redis, "http://x", [b"s"], clock=lambda: now_s, post=post)
    await hooks.add("batch_1", "batch.failed", {})
    for _ in range(15):
        await hooks.tell(wait=True)
        now_s += 100_000
    assert sent == tries
    assert await redis.hlen(keys.WEBHOOKS) == 0


async def test_several_secrets_sign_side_by_side(redis: Redis) -> None:
    """So that a receiver can change its secret without a gap."""
    other = "whsec_" + base64.b64encode(b"another").decode()
    env = {"BUCKETLINE_WEBHOOK_SECRET": f"{SECRET} {other}"}
    heard: list[str] = []
    hooks = webhooks_of(redis, WebhookSettings(url="http://x"), env)
    assert hooks is not None
    hooks._post = lambda url, body, headers: heard.append(headers["webhook-signature"]) or 200
    await hooks.add("b", "batch.completed", {})
    await hooks.tell(wait=True)
    assert len(heard[0].split(" ")) == 2


@pytest.mark.parametrize(("secret", "said"), [("", "is not set"), ("whsec_%%", "not base64")])
async def test_a_secret_that_cannot_sign_is_named_at_the_start(redis: Redis, secret: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        webhooks_of(redis, WebhookSettings(url="http://x"), {"BUCKETLINE_WEBHOOK_SECRET": secret})
