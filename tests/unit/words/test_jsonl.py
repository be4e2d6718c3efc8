"""Records end at 0x0A and nowhere else, however the stream was cut."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from bucketline.jsonl import Splitter, escape_line_ends, records_of


def cut_records(data: bytes, cuts: list[int], cap_bytes: int = 1 << 30) -> list[tuple[int, int, bytes]]:
    splitter = Splitter(cap_bytes=cap_bytes)
    found = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        found += splitter.feed(data[start:end])
    found += splitter.finish()
    return [(record.line, record.offset_bytes, record.raw) for record in found]


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b" ", b"\xe2\x80\xa8", b"\xc2\x85", b"\xef\xbb\xbf", b"{}"])),
    st.lists(st.integers(0, 60)),
)
def test_the_cut_of_the_blocks_changes_nothing(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    assert cut_records(data, cuts) == cut_records(data, [])


@given(st.lists(st.text(alphabet=st.characters(blacklist_categories=["Cs"])).filter(lambda t: t.strip()), max_size=8))
def test_unicode_line_ends_inside_a_string_are_data(texts: list[str]) -> None:
    lines = [json.dumps(text, ensure_ascii=False).encode() for text in texts]
    assert [record.raw for record in records_of(b"\n".join(lines))] == lines


def test_a_record_knows_its_line_and_where_it_starts() -> None:
    data = b"\xef\xbb\xbf{1}\r\n\n  \n{22}\n{3}"
    assert cut_records(data, [1, 4, 9]) == [(1, 0, b"{1}"), (4, 12, b"{22}"), (5, 17, b"{3}")]
    assert data[12:16] == b"{22}"


def test_a_line_over_the_cap_is_said_and_its_neighbours_live() -> None:
    data = b"{1}\n" + b"x" * 1000 + b"\n{2}\n"
    found = list(Splitter(cap_bytes=100).feed(data))
    assert [(record.line, record.oversized) for record in found] == [(1, False), (2, True), (3, False)]
    assert len(found[1].raw) <= 256
    assert found[2].raw == b"{2}"


def test_a_long_line_is_not_taken_for_blank_by_its_beginning() -> None:
    """It would be missing from the results without a word."""
    for start in (b" ", b"\xef\xbb\xbf"):
        found = list(records_of(start * 100 + b"{1}\n{2}\n", cap_bytes=100))
        assert [(record.line, record.oversized) for record in found] == [(1, True), (2, False)]
        splitter = Splitter(cap_bytes=100)
        found = [record for byte in start * 100 + b"{1}\n{2}\n" for record in splitter.feed(bytes([byte]))]
        assert [(record.line, record.oversized) for record in found] == [(1, True), (2, False)]


def test_a_long_line_in_small_blocks_is_never_held_whole() -> None:
    splitter = Splitter(cap_bytes=64)
    for _ in range(10_000):
        assert list(splitter.feed(b"x" * 100)) == []
    assert sum(map(len, splitter._pieces)) <= 66
    (record,) = splitter.finish()
    assert record.oversized
    assert record.size_bytes == 1_000_000


def test_escaping_line_ends_keeps_the_value() -> None:
    encoded = json.dumps({"t": "a\u2028b\u2029c\u0085d"}, ensure_ascii=False).encode()
    escaped = escape_line_ends(encoded)
    assert len(escaped.decode().splitlines()) == 1
    assert json.loads(escaped) == json.loads(encoded)
