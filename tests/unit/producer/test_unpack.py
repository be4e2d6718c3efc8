"""Compressed input: the same bytes whatever the blocks, and a sentence when it is broken."""

from __future__ import annotations

import gzip

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bucketline.errors import InputError
from producer.unpack import unpacked

PLAIN = b'{"a": 1}\n' * 3000


async def through(data: bytes, size: int) -> list[bytes]:
    async def blocks():
        for at in range(0, len(data), size):
            yield data[at : at + size]

    return [block async for block in unpacked(blocks(), "x.jsonl")]


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(PLAIN),
        gzip.compress(PLAIN[:100]) + gzip.compress(PLAIN[100:]),
        gzip.compress(PLAIN) + b"\0" * 700,
        zstandard.compress(PLAIN),
        zstandard.compress(PLAIN[:100]) + zstandard.compress(PLAIN[100:]),
        PLAIN,
    ],
    ids=["gzip", "two gzip members", "padded gzip", "zstd", "two zstd frames", "plain"],
)
@pytest.mark.parametrize("size", [1, 3, 1000, 1 << 20])
async def test_the_plain_bytes_come_out(packed, size):
    """Tools join archives and pad them; uploads come in blocks of any size."""
    assert b"".join(await through(packed, size)) == PLAIN


@given(data=st.binary(max_size=40), size=st.integers(1, 9))
async def test_what_has_no_archive_in_it_passes_untouched(data, size):
    if not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        assert b"".join(await through(data, size)) == data


@pytest.mark.parametrize("packed", [gzip.compress(PLAIN), zstandard.compress(PLAIN)], ids=["gzip", "zstd"])
async def test_a_cut_archive_and_a_broken_one_are_refused_by_name(packed):
    """Half an upload must not become half a batch."""
    with pytest.raises(InputError, match=r"x\.jsonl ends in the middle"):
        await through(packed[:-9], 50)
    broken = packed[:20] + bytes(64) + packed[20:]
    with pytest.raises(InputError, match=r"x\.jsonl"):
        await through(broken, 50)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
async def test_an_archive_that_unpacks_to_much_comes_in_small_blocks(pack):
    """A kilobyte can unpack to megabytes; memory must not follow."""
    blocks = await through(pack(bytes(30_000_000)), 1 << 18)
    assert max(map(len, blocks)) <= 1 << 20
    assert sum(map(len, blocks)) == 30_000_000
