"""A batch from any source: what lies in the store and in Redis afterwards, and what does not when it is refused."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard
from redis.asyncio import Redis

from bucketline import keys
from bucketline.batch import BatchDocument, BatchOptions
from bucketline.connect import connect_redis
from bucketline.errors import ConfigError, InputError, ServiceUnavailable
from bucketline.ledger import Ledger
from bucketline.store import Store, StoreUnavailable, open_store
from producer.intake import submit
from producer.judge import Refused
from producer.source import StoredInput
from tests.unit.producer.lines_for_tests import SETTINGS, chat_line

ENV = {"ALPHA_API_KEY": "a", "BETA_API_KEY": "b"}
LINES = b"\n".join(chat_line(n) for n in range(60)) + b"\n"


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


async def names(store: Store) -> list[str]:
    return [stat.key async for stat in store.list("")]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
async def test_a_file_becomes_a_batch(pack, store, redis, tmp_path):
    """The document tells all that is needed to rebuild the rest; the tickets name every shard of it."""
    file = tmp_path / "in.jsonl"
    file.write_bytes(pack(LINES))
    document = await submit(str(file), store, redis, SETTINGS, BatchOptions(priority=7), env=ENV)

    stored = await store.get(f"batches/{document.id}/input.jsonl")
    assert stored == LINES
    assert document.input_sha256 == hashlib.sha256(LINES).hexdigest()
    assert (document.lines, document.rejected, document.last_line, document.input_bytes) == (60, 0, 60, len(LINES))
    assert BatchDocument.model_validate_json(await store.get(f"batches/{document.id}/batch.json")) == document
    queued = {raw.decode() for raw in await redis.zrange(keys.QUEUE, 0, -1)}
    assert queued == {keys.shard_job_id(document.id, n) for n in range(len(document.shards))}
    progress = await Ledger(redis).progress(document.id)
    assert progress is not None
    assert (progress.counts.total, progress.waiting_shards) == (60, len(document.shards))
    assert await redis.zcard(keys.SUBMITTING) == 0


async def test_bad_lines_are_error_lines_at_once_and_count_as_failed(store, redis):
    """They cost nothing, and whoever looks at the progress sees them before any call is made."""
    blocks = b"\n".join([chat_line("a"), b"[1]", b"", chat_line("b", model="nobody"), chat_line("c")])
    await store.put("files/x", blocks)
    document = await submit(StoredInput("files/x"), store, redis, SETTINGS, env=ENV)
    rejects = [json.loads(line) for line in (await store.get(f"batches/{document.id}/rejects.jsonl")).splitlines()]
    assert [(one["custom_id"], one["bucketline"]["line"], one["error"]["code"]) for one in rejects] == [
        (None, 2, "invalid_input"),
        ("b", 4, "invalid_input"),
    ]
    progress = await Ledger(redis).progress(document.id)
    assert progress is not None
    assert (progress.counts.total, progress.counts.failed) == (4, 2)
    claim = await Ledger(redis).claim(document.id, 0, 1, 5)
    assert claim is not None
    assert claim.recorded == {2, 4}


async def test_dicts_from_python_sync_or_async(store, redis):
    items = [json.loads(chat_line(n, "a\ud83d" if n == 3 else "\u2028")) for n in range(5)]

    async def later():
        for item in items:
            yield item

    for source in (items, iter(items), later()):
        document = await submit(source, store, redis, SETTINGS, env=ENV)
        stored = await store.get(f"batches/{document.id}/input.jsonl")
        assert [json.loads(line) for line in stored.split(b"\n")[:-1]] == items


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (b"", {}, "is empty"),
        (b"\n \n\r\n", {}, "is empty"),
        (b"[1]\nnull\n", {}, r"None of the 2 lines .* line 1 \(byte 0\)"),
        (b'[{"a": 1}]', {}, "a JSON array"),
        (b'{\n  "a": 1\n}\n', {}, "None of the 3 lines"),
        (LINES + b"[1]\n", {"strict": True}, "1 of the 61 lines"),
        (LINES + chat_line(7), {}, "Lines 8 and 61 .* --duplicates number"),
        (gzip.compress(LINES)[:-20], {}, "ends in the middle"),
    ],
)
async def test_a_refused_input_leaves_nothing(data, options, said, store, redis, tmp_path):
    """Neither objects nor tickets nor claims: the same file mended must go through."""
    file = tmp_path / "in.jsonl"
    file.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        await submit(str(file), store, redis, SETTINGS, env=ENV, idempotency_key="k", **options)
    assert "\n" not in str(caught.value)
    assert await names(store) == []
    assert await redis.keys("*") == []


async def test_strict_lists_the_first_hundred_with_line_and_byte(store, redis):
    await store.put("files/x", chat_line(0) + b"\n" + b"[1]\n" * 150)
    with pytest.raises(Refused) as caught:
        await submit(StoredInput("files/x"), store, redis, SETTINGS, env=ENV, strict=True)
    assert len(caught.value.faults) == len(caught.value.bad_lines) == 100
    assert caught.value.faults[1].startswith(f"line 3 (byte {len(chat_line(0)) + 1 + 4}): ")


@pytest.mark.parametrize(
    ("source", "said"),
    [(".", "is a folder"), ("nowhere.jsonl", "There is no file"), ("a\0b", "cannot be read"), ("s3://bucket", "s3://")],
)
async def test_a_source_that_cannot_be_read_is_named_in_one_sentence(source, said, store, redis):
    with pytest.raises(Exception, match=said) as caught:
        await submit(source, store, redis, SETTINGS, env=ENV)
    assert getattr(caught.value, "exit_code", None) == 2


async def test_a_missing_key_refuses_and_a_missing_key_of_a_fallback_warns(store, redis):
    """A batch that cannot send a single call is better refused before it waits for a night."""
    warnings: list[str] = []
    lines = [json.loads(chat_line(1, model="sure"))]
    with pytest.raises(ConfigError, match="ALPHA_API_KEY"):
        await submit(lines, store, redis, SETTINGS, env={})
    await submit(lines, store, redis, SETTINGS, env={"ALPHA_API_KEY": "a"}, warn=warnings.append)
    assert len(warnings) == 1
    assert "BETA_API_KEY" in warnings[0]
    await submit(lines, store, redis, SETTINGS, env={}, check_keys=False)


async def test_a_budget_needs_prices(store, redis):
    lines = [json.loads(chat_line(1, model="sure"))]
    with pytest.raises(ConfigError, match=r'prices\."beta/large"'):
        await submit(lines, store, redis, SETTINGS, BatchOptions(max_usd="1"), env=ENV)
    await submit(lines, store, redis, SETTINGS, BatchOptions(max_usd="1", unpriced="allow"), env=ENV)
    await submit([json.loads(chat_line(1))], store, redis, SETTINGS, BatchOptions(max_usd="1"), env=ENV)


async def test_repeated_ids_can_be_numbered(store, redis):
    lines = [json.loads(chat_line("a", str(n))) for n in range(3)]
    document = await submit(lines, store, redis, SETTINGS, env=ENV, number_duplicates=True)
    stored = (await store.get(f"batches/{document.id}/input.jsonl")).splitlines()
    assert [json.loads(line)["custom_id"] for line in stored] == ["a", "a#2", "a#3"]


async def test_the_same_key_gives_the_same_batch_also_when_ten_ask_at_once(store, redis):
    """A caller that did not hear the answer asks again; the work must be done once."""
    lines = [json.loads(chat_line(n)) for n in range(3)]
    found = await asyncio.gather(
        *(submit(list(lines), store, redis, SETTINGS, env=ENV, idempotency_key="k") for _ in range(10))
    )
    assert len({document.id for document in found}) == 1
    assert len([name for name in await names(store) if name.endswith("batch.json")]) == 1
    assert (await submit(lines, store, redis, SETTINGS, env=ENV, idempotency_key="l")).id != found[0].id


async def test_a_claim_whose_owner_died_is_taken_over(store, redis):
    from producer.claims import source_digest

    claim = keys.source_claim(source_digest("idempotency", "k"))
    await redis.set(claim, "batch_dead")
    await redis.zadd(keys.SUBMITTING, {"batch_dead": 1.0})
    document = await submit([json.loads(chat_line(1))], store, redis, SETTINGS, env=ENV, idempotency_key="k")
    assert (await redis.get(claim)).decode() == document.id


async def test_a_store_that_fails_at_the_last_step_leaves_no_batch(store, redis):
    """The document is what makes a batch; without it nothing may run."""

    class Failing:
        def __init__(self, inner: Store) -> None:
            self._inner = inner

        def __getattr__(self, name: str):
            return getattr(self._inner, name)

        async def put(self, *args, **kwargs):
            raise StoreUnavailable("The store is full.")

    with pytest.raises(StoreUnavailable):
        await submit([json.loads(chat_line(1)), {}], Failing(store), redis, SETTINGS, env=ENV)  # type: ignore[arg-type]
    assert await names(store) == []
    assert await redis.keys("*") == []


async def test_a_redis_that_goes_before_the_work_is_queued_leaves_a_sign_for_the_sweep(store, redis, monkeypatch):
    """The batch is stored and paid for in patience; a worker must find it when Redis is back."""
    from redis.exceptions import ConnectionError as Gone

    async def gone(*_args, **_kwargs):
        raise Gone("away")

    monkeypatch.setattr("producer.intake.enqueue_shards", gone)
    with pytest.raises(ServiceUnavailable, match="is stored"):
        await submit([json.loads(chat_line(1))], store, redis, SETTINGS, env=ENV)
    (name,) = [name for name in await names(store) if name.endswith("batch.json")]
    assert [raw.decode() for raw in await redis.zrange(keys.SUBMITTING, 0, -1)] == [name.split("/")[1]]
