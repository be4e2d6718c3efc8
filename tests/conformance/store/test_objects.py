"""Objects whole: what is put is what is got, under any key, in every store."""

from __future__ import annotations

import asyncio

import pytest

from bucketline.store import Changed, Exists, NotFound, Store, StoreError

KEYS = [
    "plain", "inbox/a b.jsonl", "inbox/50%.jsonl", "inbox/100%25", "inbox/a+b&c=d?e#f", "inbox/ü/ñ/日本.jsonl",
    "inbox/'quoted\".jsonl", "inbox/semi;colon,comma", "batches/b1/parts/0000001-0001-0001.part", "~tilde/[x]{y}|^`",
    ".hidden", "a.b", "a-b", "a/b", "UPPER/Case", "x" * 230 + "/" + "y" * 250,
]  # fmt: skip

#: SeaweedFS keeps objects as files: it takes these for paths, or for too long.
NOT_IN_SEAWEEDFS = ["inbox/back\\slash", "inbox/" + "y" * 300, "inbox//double"]


@pytest.fixture
def keys(kind: str) -> list[str]:
    return KEYS if kind == "seaweedfs" else KEYS + NOT_IN_SEAWEEDFS


async def test_any_key_holds_its_bytes(store: Store, keys: list[str]) -> None:
    """Users name their files as they like; a name that is mangled on the way is a lost batch."""
    for key in keys:
        await store.put(key, key.encode())
        assert await store.get(key) == key.encode()
        assert (await store.stat(key)).key == key
        assert [stat.key async for stat in store.list(key)] == [key]
        await store.delete(key)
        with pytest.raises(NotFound):
            await store.get(key)


async def test_all_keys_live_side_by_side_and_are_listed_in_order(store: Store, keys: list[str], kind: str) -> None:
    """The merge reads parts in key order and trusts the store for it."""
    for key in keys:
        await store.put(key, b"x")

    def ordered(prefix: str) -> list[str]:
        chosen = [key for key in keys if key.startswith(prefix)]
        return sorted(chosen, key=(lambda key: key.split("/")) if kind == "seaweedfs" else None)

    for prefix in ("", "inbox/", "a", "a/"):
        assert [stat.key async for stat in store.list(prefix)] == ordered(prefix)
    assert [stat.key async for stat in store.list("nothing")] == []


async def test_a_listing_goes_over_pages(store: Store, kind: str) -> None:
    """A store gives a thousand at a time, the strict one only ten; the next one is a batch too."""
    keys = [f"inbox/{number:05d}" for number in range(1_050 if kind in ("folder", "seaweedfs") else 35)]
    await asyncio.gather(*(store.put(key, b"") for key in keys))
    found = [stat async for stat in store.list("inbox/")]
    assert [stat.key for stat in found] == keys
    assert {stat.size_bytes for stat in found} == {0}


async def test_folders_are_named_once_over_pages_and_without_what_lies_in_them(store: Store) -> None:
    """A thousand batches of a hundred parts each are a thousand names, not a hundred thousand objects."""
    names = [f"batch_{number:03d}" for number in range(25)] + ["ä b+c%20"]
    keys = [f"batches/{name}/{rest}" for name in names for rest in ("batch.json", "parts/1", "parts/2")]
    await asyncio.gather(*(store.put(key, b"") for key in [*keys, "batches/lies-beside", "inbox/x", "root"]))
    assert [name async for name in store.folders("batches/")] == names
    assert [name async for name in store.folders("batches/batch_003/")] == ["parts"]
    assert [name async for name in store.folders("batches/batch_003/parts/")] == []
    assert [name async for name in store.folders("nothing/")] == []
    assert [name async for name in store.folders("")] == ["batches", "inbox"]


async def test_a_range_is_cut_as_asked_and_short_at_the_end(store: Store) -> None:
    await store.put("k", b"0123456789")
    assert await store.get("k", offset=3, length=4) == b"3456"
    assert await store.get("k", offset=8) == b"89"
    assert await store.get("k", offset=8, length=100) == b"89"
    assert await store.get("k", offset=10) == b""
    assert await store.get("k", offset=99, length=5) == b""
    assert await store.get("k", length=0) == b""


async def test_an_empty_object_is_an_object(store: Store) -> None:
    await store.put("empty", b"")
    assert await store.get("empty") == b""
    assert (await store.stat("empty")).size_bytes == 0
    assert [block async for block in store.read("empty")] == []


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    for absent in (store.get("no"), store.get("no", length=0), store.get("no/deeper", offset=5), store.stat("no")):
        with pytest.raises(NotFound, match="'no"):
            await absent
    with pytest.raises(NotFound):
        await store.copy("no", "other")
    with pytest.raises(NotFound):
        async for _ in store.read("no"):
            pass
    await store.delete("no")


async def test_a_put_replaces_and_changes_the_etag(store: Store) -> None:
    """A re-upload under the same key is known by its ETag; so is an input that changes while it is read."""
    first = await store.put("k", b"one")
    assert (await store.stat("k")).etag == first
    assert await store.get("k", etag=first) == b"one"
    second = await store.put("k", b"two")
    assert first != second
    assert [stat.etag async for stat in store.list("k")] == [second]
    for stale in (store.get("k", etag=first), store.get("k", etag=first, offset=1, length=1)):
        with pytest.raises(Changed):
            await stale
    with pytest.raises(Changed):
        async for _ in store.read("k", etag=first):
            pass


async def test_a_put_that_wants_nothing_there_never_replaces(store: Store) -> None:
    await store.put("k", b"one", if_absent=True)
    with pytest.raises(Exists, match="'k'"):
        await store.put("k", b"two", if_absent=True, metadata={"who": "two"})
    assert await store.get("k") == b"one"
    assert (await store.stat("k")).metadata == {}


async def test_of_many_racing_claimers_one_wins(store: Store) -> None:
    """Two watchers never both take an object."""

    async def claim(number: int) -> int | None:
        try:
            await store.put("claim", str(number).encode(), if_absent=True)
        except Exists:
            return None
        return number

    won = [number for number in await asyncio.gather(*map(claim, range(16))) if number is not None]
    assert len(won) == 1
    assert await store.get("claim") == str(won[0]).encode()


async def test_metadata_come_back_as_given(store: Store) -> None:
    """Options travel with the object; S3 itself carries only ASCII."""
    given = {"bucketline-max-cost": "12.50", "note": "ünïcode – ja", "blank": " a ", "word": "=?x"}
    await store.put("k", b"x", metadata=given)
    assert (await store.stat("k")).metadata == given
    await store.copy("k", "copy")
    assert (await store.stat("copy")).metadata == given
    await store.put("k", b"y")
    assert (await store.stat("k")).metadata == {}


async def test_a_copy_has_the_bytes(store: Store) -> None:
    await store.put("from/a b", b"bytes")
    await store.copy("from/a b", "to/ü+%")
    assert await store.get("to/ü+%") == b"bytes"


async def test_names_that_look_like_paths_are_only_names(store: Store, kind: str) -> None:
    """No key leads out of the store, and none is another's second name."""
    if kind == "seaweedfs":
        pytest.skip("SeaweedFS takes object names for paths")
    await store.put("k", b"mine")
    for key in ("../k", "/k", "./k", "a/../k", "k/", "../../../../../../tmp/k"):
        if (kind, key) != ("folder", "k/"):
            await store.put(key, key.encode())
            assert await store.get(key) == key.encode()
    assert await store.get("k") == b"mine"


async def test_a_probe_goes_through_and_leaves_nothing(store: Store) -> None:
    await store.check()
    assert [stat.key async for stat in store.list("")] == []


async def test_an_empty_key_is_refused_in_a_sentence(store: Store) -> None:
    with pytest.raises(StoreError, match="needs a name"):
        await store.put("", b"x")
