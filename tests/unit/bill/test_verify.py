"""The bill derived again from the parts: it agrees, and when one digit changes anywhere it says where."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from bucketline.errors import BatchNotFound, NotFinished
from bucketline.layout import errors_object, manifest_object, output_object, parts_prefix, rejects_object
from bucketline.store import Store, open_store
from producer.verify import Report, verify
from tests.unit.bill.batches_for_tests import finish, outcome, write_batch, write_part

REJECTED = frozenset({4, 40, 41, 100})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def _places(report: Report) -> list[str]:
    return [finding.place for finding in report.findings]


async def _with_one_digit_changed(store: Store, key: str, at: int | None, dice: random.Random) -> bytes:
    """Change one digit of an object, at a place or at a random one; the bytes as they were."""
    raw = await store.get(key)
    digits = [position for position, byte in enumerate(raw) if 48 <= byte <= 57]
    place = dice.choice(digits) if at is None else at
    other = dice.choice([digit for digit in b"0123456789" if digit != raw[place]])
    await store.put(key, raw[:place] + bytes([other]) + raw[place + 1 :])
    return raw


async def test_a_batch_as_it_was_finished_agrees_in_everything(store: Store) -> None:
    manifest = await finish(store, await write_batch(store, rejected=REJECTED))
    report = await verify(store, "batch_1")
    assert report.findings == []
    assert (report.ok, report.parts, report.lines) == (True, 3, 100)
    assert (manifest.counts.failed, manifest.errors["invalid_input"]) == (14, 4)


async def test_one_changed_digit_in_a_part_is_found_and_the_part_is_named(store: Store) -> None:
    """In an answer's text, a usage, a cost, an id, the header's index, its tally, its digest: wherever it is."""
    await finish(store, await write_batch(store, rejected=REJECTED))
    keys = [stat.key async for stat in store.list(parts_prefix("batch_1"))]
    dice = random.Random(7)
    for _ in range(60):
        key = dice.choice(keys)
        raw = await _with_one_digit_changed(store, key, None, dice)
        report = await verify(store, "batch_1")
        assert key in _places(report), report.findings
        assert not [other for other in keys if other != key and other in _places(report)]
        await store.put(key, raw)
    assert (await verify(store, "batch_1")).ok


async def test_a_cost_that_is_not_its_usage_times_its_price_is_found_though_every_digest_agrees(store: Store) -> None:
    """A worker with a wrong price seals consistent parts; only the arithmetic can show it."""
    document = await write_batch(store)
    right = outcome(1).attempts[0]
    assert right.cost.nanousd is not None
    wrong = replace(right, cost=replace(right.cost, nanousd=right.cost.nanousd - 1))
    line = replace(outcome(1), attempts=(wrong,))
    key = await write_part(store, "batch_1", 0, [line, *(outcome(n) for n in range(2, 31))])
    await finish(store, document)
    report = await verify(store, "batch_1")
    assert [(f.place, f.message) for f in report.findings] == [
        (key, "line 1: its usage costs 0.00013325, and it says 0.000133249")
    ]


@pytest.mark.parametrize("name", ["output.jsonl", "errors.jsonl", "input.jsonl"])
async def test_a_changed_file_is_named(store: Store, name: str) -> None:
    await finish(store, await write_batch(store))
    key = output_object("batch_1").replace("output.jsonl", name)
    await _with_one_digit_changed(store, key, None, random.Random(3))
    report = await verify(store, "batch_1")
    assert _places(report) == [key]


async def test_a_changed_total_in_the_manifest_is_named_by_its_member(store: Store) -> None:
    manifest = await finish(store, await write_batch(store))
    document = orjson.loads(manifest.encode())
    document["cost"]["by_route"][0]["usage"]["output_tokens"] += 1
    document["counts"]["retries"] = 99
    await store.put(manifest_object("batch_1"), orjson.dumps(document))
    report = await verify(store, "batch_1")
    assert _places(report) == ["manifest.json counts.retries", "manifest.json cost.by_route[0].usage.output_tokens"]


async def test_a_missing_part_is_missed_and_a_foreign_object_is_none(store: Store) -> None:
    await finish(store, await write_batch(store))
    keys = [stat.key async for stat in store.list(parts_prefix("batch_1"))]
    await store.delete(keys[1])
    await store.put(f"{parts_prefix('batch_1')}notes.txt", b"hello")
    await store.put(f"{parts_prefix('batch_1')}0000099-0001-0000.part", b"hello")
    places = _places(await verify(store, "batch_1"))
    assert f"{parts_prefix('batch_1')}0000001-*" in places
    assert f"{parts_prefix('batch_1')}notes.txt" in places
    assert f"{parts_prefix('batch_1')}0000099-0001-0000.part" in places


async def test_a_changed_refused_line_is_found(store: Store) -> None:
    await finish(store, await write_batch(store, rejected=REJECTED))
    await _with_one_digit_changed(store, rejects_object("batch_1"), None, random.Random(1))
    report = await verify(store, "batch_1")
    assert not report.ok
    assert errors_object("batch_1") not in _places(report)


async def test_a_line_that_two_parts_hold_counts_once_by_the_first(store: Store) -> None:
    """Two workers recorded line 5; the first part in key order is the one whose answer was delivered."""
    document = await write_batch(store)
    later = replace(outcome(5), body=b'{"later":1}')
    await write_part(store, "batch_1", 0, [later], generation=2)
    manifest = await finish(store, document)
    report = await verify(store, "batch_1")
    assert report.findings == []
    assert (report.parts, report.lines, manifest.counts.total) == (4, 100, 100)


async def test_what_is_not_there_or_not_over_is_said(store: Store) -> None:
    with pytest.raises(BatchNotFound, match="There is no batch batch_9"):
        await verify(store, "batch_9")
    await write_batch(store)
    with pytest.raises(NotFinished, match="batch_1 is not over yet"):
        await verify(store, "batch_1")


async def test_findings_are_kept_to_a_hundred_and_the_rest_is_counted(store: Store) -> None:
    await finish(store, await write_batch(store, shards=(200,)))
    manifest = orjson.loads(await store.get(manifest_object("batch_1")))
    for row in manifest["cost"]["by_route"]:
        row["unit_prices"]["input"] = "9"
    await store.put(manifest_object("batch_1"), orjson.dumps(manifest))
    report = await verify(store, "batch_1")
    assert len(report.findings) == 100
    assert report.document()["more_findings"] > 90


async def test_parts_that_were_cleared_away_are_one_finding_and_the_files_are_checked_all_the_same(
    store: Store,
) -> None:
    await finish(store, await write_batch(store, rejected=REJECTED))
    for key in [stat.key async for stat in store.list(parts_prefix("batch_1"))]:
        await store.delete(key)
    report = await verify(store, "batch_1")
    assert _places(report) == [parts_prefix("batch_1")]
    assert "`gc` removes" in report.findings[0].message
    await store.put(output_object("batch_1"), b"{}\n")
    assert output_object("batch_1") in _places(await verify(store, "batch_1"))
