"""Objects in streams: whole at the end or not there at all, in flat memory, copied inside the store."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from bucketline.store import Changed, NotFound, Store, StoreError

MIB = 1 << 20
DATA = random.Random(1).randbytes(17 * MIB + 17)  # three parts, the last a short one


async def _written(store: Store, key: str, data: bytes, step: int) -> str:
    async with store.writer(key, metadata={"m": "1"}) as writer:
        for at in range(0, len(data), step):
            await writer.write(data[at : at + step])
    assert writer.size_bytes == len(data)
    return writer.sha256


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1])
async def test_a_stream_of_any_size_arrives_whole(store: Store, size: int) -> None:
    """Part boundaries are where bytes get lost."""
    data = DATA[:size]
    assert await _written(store, "out put.jsonl", data, 3 * MIB + 7) == hashlib.sha256(data).hexdigest()
    stat = await store.stat("out put.jsonl")
    assert (stat.size_bytes, stat.metadata) == (size, {"m": "1"})
    assert b"".join([block async for block in store.read("out put.jsonl")]) == data


async def test_one_large_write_and_many_small_ones_are_the_same(store: Store) -> None:
    assert await _written(store, "one", DATA, len(DATA)) == await _written(store, "many", DATA, 10_001)
    assert await store.get("one") == await store.get("many")


async def test_a_read_comes_in_blocks_from_where_it_is_asked(store: Store) -> None:
    await store.put("k", DATA[: 3 * MIB])
    blocks = [block async for block in store.read("k", block_bytes=MIB, offset=MIB // 2)]
    assert b"".join(blocks) == DATA[MIB // 2 : 3 * MIB]
    assert max(map(len, blocks)) <= MIB
    assert [block async for block in store.read("k", offset=3 * MIB)] == []
    assert [block async for block in store.read("k", offset=9 * MIB)] == []


async def test_a_read_left_half_way_lets_go(store: Store) -> None:
    """A preview of a large file must not hold a thread or a connection; the store is still usable and closes."""
    await store.put("k", DATA[: 5 * MIB])
    for _ in range(40):
        blocks = store.read("k", block_bytes=64 * 1024)
        assert await anext(blocks) == DATA[: 64 * 1024]
        await blocks.aclose()
    assert await store.get("k", length=3) == DATA[:3]


async def test_nothing_is_visible_before_the_end(store: Store) -> None:
    """Who sees an output believes it is finished."""
    async with store.writer("k") as writer:
        await writer.write(DATA)
        with pytest.raises(NotFound):
            await store.stat("k")
        assert [stat.key async for stat in store.list("")] == []
    assert (await store.stat("k")).size_bytes == len(DATA)


@pytest.mark.parametrize("size", [10, len(DATA)])
async def test_a_failed_writing_leaves_what_was_there(store: Store, size: int) -> None:
    await store.put("k", b"before")

    async def write() -> None:
        async with store.writer("k") as writer:
            await writer.write(DATA[:size])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()
    assert await store.get("k") == b"before"
    assert [stat.key async for stat in store.list("")] == ["k"]


async def test_a_cancelled_writing_leaves_nothing(store: Store) -> None:
    """A worker told to stop stops in the middle of a merge."""
    begun = asyncio.Event()

    async def write() -> None:
        async with store.writer("k") as writer:
            await writer.write(DATA)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [stat.key async for stat in store.list("")] == []


async def test_ranges_of_other_objects_are_appended(store: Store) -> None:
    """A merge may move gigabytes without their passing through here."""
    await store.put("a b", DATA)
    async with store.writer("k") as writer:
        await writer.write(b"head")
        await writer.copy("a b", 5, 17 * MIB)
        await writer.copy("a b", 0, 3)
        await writer.write(b"tail")
    assert await store.get("k") == b"head" + DATA[5 : 5 + 17 * MIB] + DATA[:3] + b"tail"
    assert writer.size_bytes == 17 * MIB + 11
    with pytest.raises(StoreError, match="copied unseen"):
        _ = writer.sha256


async def test_a_range_beyond_the_end_fails_the_writing(store: Store) -> None:
    await store.put("a", b"12345")
    with pytest.raises(Changed, match="'a'"):
        async with store.writer("k") as writer:
            await writer.copy("a", 3, 10)
    with pytest.raises(NotFound):
        await store.stat("k")


async def test_writers_and_readers_do_not_mix(store: Store) -> None:
    """More streams than threads, all at once."""

    async def round_trip(number: int) -> bool:
        data = DATA[number : number + 2 * MIB]
        await _written(store, f"k{number}", data, 300_000)
        return b"".join([block async for block in store.read(f"k{number}")]) == data

    assert all(await asyncio.gather(*map(round_trip, range(20))))
