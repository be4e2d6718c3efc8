"""What the scanner promises: byte-exact, the same as the worker reads, whatever the blocks."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.catalog import Catalog
from bucketline.errors import ConfigError
from bucketline.jsonl import BOM, records_of
from bucketline.request import Request, read_request
from producer.scan import BadLine, Ids, Scanner
from tests.unit.producer.lines_for_tests import SETTINGS, chat_line

#: any JSON scalar, and text with what other readers take for line ends
texts = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=()), st.sampled_from("\u2028\u2029\u0085\r\x0b\x1c"))
)
scalars = st.one_of(
    texts, st.integers(-(2**70), 2**70), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)
)
good = st.builds(
    lambda i, t: json.dumps(json.loads(chat_line("x", "y")) | {"custom_id": i, "note": t}).encode(), scalars, texts
)
bad = st.sampled_from([b"[1]", b"null", b"{", b'"text"', b"\xff\xfe", b'{"custom_id":1,"body":{}}'])
blank = st.sampled_from([b"", b"  ", b"\t", b"\r"])
ends = st.sampled_from([b"\n", b"\r\n"])


def scan(data: bytes, cuts: list[int] = [], **options: object) -> tuple[Scanner, list[BadLine]]:  # noqa: B006
    scanner = Scanner(Catalog(SETTINGS), **options)  # type: ignore[arg-type]
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = [one for start, end in pairwise(edges) for one in scanner.feed(data[start:end])]
    return scanner, found + scanner.finish()


@given(
    lines=st.lists(st.tuples(st.one_of(good, bad, blank), ends), max_size=30),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
    bom=st.booleans(),
    last_end=st.booleans(),
)
def test_every_line_is_counted_once_and_lies_in_one_shard_however_the_blocks_fall(lines, cuts, bom, last_end):
    """The worker reads byte ranges: a line outside of all of them would be lost, one in two of them paid twice."""
    data = (BOM if bom else b"") + b"".join(line + end for line, end in lines)
    if not last_end and data.endswith(b"\n"):
        data = data[:-1]
    scanner, found = scan(data, cuts)

    whole = list(records_of(data))
    assert scanner.lines == len(whole)
    assert scanner.last_line == (whole[-1].line if whole else 0)
    in_shards = [
        record
        for shard in scanner.shards
        for record in records_of(
            data[shard.offset_bytes : shard.offset_bytes + shard.size_bytes],
            line=shard.first_line,
            offset_bytes=shard.offset_bytes,
        )
    ]
    assert in_shards == whole
    assert [one.line for one in found] == list(scanner.rejected)
    accepted = [record for record in whole if record.line not in set(scanner.rejected)]
    assert all(isinstance(read_request(record.raw, record.line), Request) for record in accepted)
    for one in found:
        assert next(record.offset_bytes for record in whole if record.line == one.line) == one.offset_bytes


@given(ids=st.lists(scalars, max_size=40))
def test_repeated_ids_are_found_by_type_and_value(ids):
    """1, 1.0, true and "1" are four ids; the same one twice could not be told apart in the results."""
    table = Ids()
    first: dict[str, int] = {}
    expected = []
    for line, custom_id in enumerate(ids, 1):
        table.add(custom_id, line)
        name = f"{type(custom_id).__name__} {custom_id!r}"
        if name in first:
            expected.append((first[name], line))
        else:
            first[name] = line
    assert table.repeated() == expected


def test_ids_take_sixteen_bytes_a_line():
    """A million lines must not cost a gigabyte; lists grow by an eighth ahead of need."""
    table = Ids()
    for line in range(20_000):
        table.add(f"request-{line}", line)
    held = sum(part.buffer_info()[1] * part.itemsize for part in [*table._digests, *table._lines])
    assert held == 16 * 20_000


def test_an_unknown_model_is_a_bad_line_and_the_others_run():
    scanner, found = scan(b"\n".join([chat_line(1), chat_line(2, model="smal"), chat_line(3)]))
    assert [one.line for one in found] == [2]
    assert "did you mean 'small'?" in found[0].message
    assert scanner.lines == 3


def test_the_model_given_for_all_lines_beats_what_they_say():
    data = b"\n".join([chat_line(1, model="nobody"), chat_line(2, model=None)])
    assert len(scan(data, model="small")[1]) == 1
    assert scan(data, model="small", force_model=True)[1] == []


def test_a_line_over_the_cap_is_a_bad_line_outside_of_all_shards():
    """It is never read again, so no worker can be sunk by it."""
    data = b"\n".join([chat_line(1), chat_line(2, "x" * 2000), chat_line(3)])
    scanner, found = scan(data, [500, 900, 1500], cap_bytes=1000)
    assert [(one.line, one.custom_id) for one in found] == [(2, None)]
    assert [(shard.first_line, shard.lines) for shard in scanner.shards] == [(1, 1), (3, 1)]


def test_each_plan_is_judged_once_and_may_refuse_the_whole():
    plans = []
    scan(b"\n".join(chat_line(n) for n in range(10)), on_plan=plans.append)
    assert [plan.model for plan in plans] == ["small"]

    def refuse(_):
        raise ConfigError("no key")

    with pytest.raises(ConfigError, match="no key"):
        scan(chat_line(1), on_plan=refuse)
