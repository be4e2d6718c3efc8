"""Shards cover every line once, in order, in ranges that can be read alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bucketline.jsonl import records_of
from bucketline.shard import Shard, ShardCutter, lines_of_shard


def shards_of(data: bytes, cap_bytes: int = 1 << 30) -> list[Shard]:
    cutter = ShardCutter()
    found = [shard for record in records_of(data, cap_bytes=cap_bytes) if (shard := cutter.add(record))]
    return [*found, *cutter.finish()]


@given(st.lists(st.sampled_from([b"{}", b"", b"  ", b"{1234567890}", b"x" * 50]), max_size=300))
def test_reading_every_shard_alone_gives_every_record_once(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    whole = list(records_of(data, cap_bytes=40))
    again = []
    for shard in shards_of(data, cap_bytes=40):
        part = data[shard.offset_bytes : shard.offset_bytes + shard.size_bytes]
        own = list(records_of(part, line=shard.first_line, offset_bytes=shard.offset_bytes))
        assert len(own) == shard.lines
        again += own
    assert [(r.line, r.raw) for r in again] == [(r.line, r.raw) for r in whole if not r.oversized]


def test_the_first_shards_are_small_so_that_a_small_batch_spreads() -> None:
    assert lines_of_shard(0) * 10 <= 300
    assert lines_of_shard(10_000) >= 400
    sizes = [lines_of_shard(number) for number in range(200)]
    assert sizes == sorted(sizes)


def test_no_later_shard_is_a_large_share_of_what_lies_before_it() -> None:
    """The last shard is one process's, whatever the fleet: it must not be what the others wait for."""
    before = 0
    for number in range(200):
        lines = lines_of_shard(number)
        if number >= 10:
            assert lines <= before / (24 if lines > 400 else 5), number
        before += lines


def test_a_shard_is_bounded_in_bytes_too() -> None:
    shards = shards_of((b"x" * 300_000 + b"\n") * 20)
    assert len(shards) == 7
    assert all(shard.size_bytes <= 1024 * 1024 for shard in shards)
