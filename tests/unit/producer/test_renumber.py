"""Repeated ids made different: every other byte stays."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bucketline.jsonl import records_of
from bucketline.splice import member_value
from producer.renumber import renumbered
from tests.unit.producer.lines_for_tests import chat_line


async def through(data: bytes, size: int = 64, cap_bytes: int = 1 << 20) -> bytes:
    async def blocks():
        for at in range(0, len(data), size):
            yield data[at : at + size]

    return b"".join([block async for block in renumbered(blocks(), cap_bytes)])


async def test_the_second_and_third_get_a_number_and_collide_with_nothing():
    ids = ["a", "a", "a#2", "a", 7, 7, 7.0, None, None]
    out = await through(b"\n".join(map(chat_line, ids)))
    assert [json.loads(line)["custom_id"] for line in out.split(b"\n")] == [
        "a", "a#2", "a#2#2", "a#3", 7, "7#2", 7.0, None, "null#2",
    ]  # fmt: skip


@given(
    ids=st.lists(st.sampled_from(["a", "b", 1, "é\u2028"]), max_size=12),
    size=st.integers(1, 700),
    ends=st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"]),
    bom=st.booleans(),
)
async def test_ids_end_up_unique_and_nothing_else_changes(ids, size, ends, bom):
    """The body's bytes are what the provider sees and what the digest covers."""
    data = (b"\xef\xbb\xbf" if bom else b"") + ends.join(map(chat_line, ids))
    out = await through(data, size)
    before, after = list(records_of(data)), list(records_of(out))
    found = [json.loads(record.raw)["custom_id"] for record in after]
    assert len({(type(one), one) for one in found}) == len(ids)
    assert [member_value(r.raw, "body") for r in after] == [member_value(r.raw, "body") for r in before]
    assert [record.line for record in after] == [record.line for record in before]
    if len(set(map(repr, ids))) == len(ids):
        assert out == data


async def test_what_is_no_request_and_what_is_over_the_cap_passes_as_it_is():
    data = b"\n".join([b"[1]", b"{", chat_line("a"), chat_line("a", "x" * 3000), b"\xff", chat_line("b")])
    assert await through(data, 100, cap_bytes=1000) == data
