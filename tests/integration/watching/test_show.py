"""One line's whole life, wherever it lies: in Redis, in a part, among the refused, or nowhere yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bucketline.errors import UsageError
from producer.line import LineLife, life_of_line, open_document
from tests.integration.watching.line import Line, running
from tests.unit.producer.lines_for_tests import chat_line
from worker.simulator import Fault, Phase, PhaseKind, Weather

SECRET = "the words of the prompt"
LINES = [
    {"custom_id": "first", **json.loads(chat_line("x", SECRET))} | {"custom_id": "first"},
    {"custom_id": "bad", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "small"}},
    json.loads(chat_line(7, SECRET)),
    json.loads(chat_line("7", SECRET)),
    json.loads(chat_line('ü "quoted"', SECRET)),
]  # fmt: skip


async def life(line: Line, batch_id: str, which: str, *, by_id: bool = False) -> LineLife:
    store = line.producer.store
    document = await open_document(batch_id, store)
    return await life_of_line(document, which, store, await line.producer.ledger(), by_id=by_id)


async def test_a_line_is_found_by_number_and_by_id_of_its_own_type(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as line:
        batch = await line.producer.submit(LINES, check_keys=False)
        await line.producer.wait(batch, timeout_s=30)
        assert [(await life(line, batch.id, str(n))).custom_id for n in range(1, 6)] == [
            "first",
            "bad",
            7,
            "7",
            'ü "quoted"',
        ]
        assert (await life(line, batch.id, "first")).line == 1
        assert (await life(line, batch.id, 'ü "quoted"')).line == 5
        assert (await life(line, batch.id, "7", by_id=True)).line == 3
        assert (await life(line, batch.id, '"7"', by_id=True)).line == 4
        assert (await life(line, batch.id, "bad")).state == "failed"
        with pytest.raises(UsageError, match="no line 9; its last is 5"):
            await life(line, batch.id, "9")
        with pytest.raises(UsageError, match="no line whose custom_id is 'nobody'"):
            await life(line, batch.id, "nobody")


async def test_every_attempt_is_told_and_bodies_only_when_asked(redis_url: str, tmp_path: Path) -> None:
    broken = Weather(rates={Fault.ERROR_500: 1.0})
    bad_start = Phase(PhaseKind.WEATHER, after_calls=0, for_s=0.3, weather=broken)
    async with running(
        redis_url, tmp_path, simulated={"phases": (bad_start,)}, retry={"base_delay_s": 2.0, "max_delay_s": 2.0}
    ) as line:
        batch = await line.submit(1)
        await line.producer.wait(batch, timeout_s=30)
        found = await life(line, batch.id, "1")
    assert found.state == "answered"
    assert found.attempts[0]["kind"] == "server_error"
    assert found.attempts[-1]["kind"] == "ok"
    assert all(attempt["started_at"] for attempt in found.attempts)
    plain = json.dumps(found.document())
    assert "hello" not in plain
    assert "choices" not in plain
    full = found.document(bodies=True)
    assert full["request"]["body"]["messages"][0]["content"] == "hello"
    assert full["response"]["choices"]


async def test_a_recorded_line_is_found_before_a_part_holds_it(redis_url: str, tmp_path: Path) -> None:
    """Its shard is still open, so its answer lies in Redis; a line without an outcome says so."""
    slow = Phase(PhaseKind.WEATHER, after_calls=1, weather=Weather(latency_s=20.0))
    async with running(redis_url, tmp_path, simulated={"phases": (slow,)}, provider={"concurrency": 1}) as line:
        batch = await line.submit(3)
        await line.cause(batch.id, "in_flight", lambda one: one.lines == 1)
        progress = await line.producer.status(batch)
        while progress.counts.completed < 1:
            await line.look(batch.id)
            progress = await line.producer.status(batch)
        states = [(await life(line, batch.id, str(n))).state for n in (1, 2, 3)]
    assert sorted(states) == ["answered", "open", "open"]
