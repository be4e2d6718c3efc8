"""The Python door: async and sync faces of the same methods, and names that do not creep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import producer
from producer import Producer
from tests.integration.producer.test_command import end, place  # noqa: F401
from tests.unit.producer.lines_for_tests import SETTINGS, chat_line


def test_the_door_shows_these_names_and_no_others():
    """Whoever adds one has to say so here; whoever drops one breaks somebody."""
    assert producer.__all__ == ["Batch", "Producer", "cancel", "results", "status", "submit", "wait"]
    assert producer.__all__ == sorted(producer.__all__, key=lambda name: (not name[0].isupper(), name))
    for name in producer.__all__:
        assert callable(getattr(producer, name))
    with pytest.raises(AttributeError, match="nonsense"):
        producer.nonsense  # noqa: B018


def test_thirteen_lines_from_ordinary_code(place, redis_url):  # noqa: F811
    from producer import cancel, results, status, submit, wait

    questions = [json.loads(chat_line(number)) for number in (1, 2)]
    batch = submit(questions, metadata={"team": "blue"}, priority=7)
    assert batch.lines == 2
    assert status(batch.id).counts.total == 2
    assert cancel(batch) == "cancelling"
    end(place, batch.id, redis_url, failed=1)
    assert wait(batch.id, timeout_s=5).counts.failed == 1
    manifest = results(batch.id, "answers")
    assert manifest["counts"]["completed"] == 1
    assert Path("answers/output.jsonl").exists()


async def test_the_async_face_and_the_sync_one_inside_a_running_loop(place, redis_url):  # noqa: F811
    async with Producer() as door:
        batch = await door.submit([json.loads(chat_line(1))], idempotency_key="k")
        again = await door.submit([json.loads(chat_line(1))], idempotency_key="k")
        assert batch.id == again.id
        assert (await batch.status()).counts.total == 1
        assert [progress.id for progress in await door.recent()] == [batch.id]
        await door.pause(batch)
        assert (await batch.status()).paused
        await door.resume(batch)
    assert producer.status(batch.id).id == batch.id


async def test_rows_come_one_at_a_time_in_input_order(place, redis_url):  # noqa: F811
    async with Producer() as door:
        batch = await door.submit("in.jsonl")
        import asyncio

        await asyncio.to_thread(end, place, batch.id, redis_url, failed=1)
        assert [row["custom_id"] async for row in batch.rows()] == [1]
        assert [row["custom_id"] async for row in batch.rows(failed=True)] == [2]


def test_addresses_given_beat_the_configuration():
    door = Producer(settings=SETTINGS, redis_url="redis://here/1", store="there")
    assert (door.settings.redis_url, door.settings.store) == ("redis://here/1", "there")
