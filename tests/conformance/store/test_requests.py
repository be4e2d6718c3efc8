"""What a bucket is asked, word for word: encryption, part sizes, checksums, addressing."""

from __future__ import annotations

from typing import Any

import pytest

from bucketline.store import StoreError, open_store
from bucketline.store.s3 import S3Store
from bucketline.store.s3_writer import part_bytes
from tests.conformance.store.gate import Gate, Weather

MIB = 1 << 20
GIB = 1 << 30


async def test_every_new_object_asks_for_the_named_encryption(gated_address: str, gate: Gate, s3_client: Any) -> None:
    """A bucket policy refuses what does not, multipart and copies too."""
    store = open_store(f"{gated_address}?sse=aws:kms&sse_kms_key_id=alias/ours")
    assert isinstance(store, S3Store)
    await store.put("small", b"x")
    async with store.writer("large") as writer:
        await writer.write(bytes(9 * MIB))
    await store.copy("small", "copy")
    for key in ("small", "large", "copy"):
        head = s3_client.head_object(Bucket=store.bucket, Key=store.name(key))
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/ours")
    await store.close()


async def test_a_small_object_is_one_put_and_a_large_one_equal_parts(gated: S3Store, gate: Gate) -> None:
    async with gated.writer("small") as writer:
        await writer.write(bytes(8 * MIB - 1))
    assert dict(gate.seen) == {"PutObject": 1}
    async with gated.writer("large") as writer:
        for _ in range(17):
            await writer.write(bytes(MIB))
    (sizes,) = gate.parts.values()
    assert sizes == {1: 8 * MIB, 2: 8 * MIB, 3: MIB}
    assert gate.seen["HeadObject"] == 0


async def test_whole_parts_of_another_object_never_pass_through_here(gated: S3Store, gate: Gate) -> None:
    async with gated.writer("from") as writer:
        await writer.write(bytes(33 * MIB))
    gate.parts.clear()
    gate.seen.clear()
    async with gated.writer("to") as writer:
        await writer.write(b"head")
        await writer.copy("from", 0, 33 * MIB)
    assert gate.seen["UploadPartCopy"] == 3
    assert gate.seen["GetObject"] == 2
    (sizes,) = gate.parts.values()
    assert set(list(sizes.values())[:-1]) == {8 * MIB}


@pytest.mark.parametrize("code", ["InvalidRequest", "EntityTooLarge"])
async def test_a_copy_is_one_request_and_only_what_is_too_large_for_it_goes_by_parts(
    gated: S3Store, gate: Gate, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Most copies are of small results, thousands of them; a size asked beforehand would double their price."""
    await gated.put("small", b"x")
    gate.seen.clear()
    await gated.copy("small", "copy")
    assert dict(gate.seen) == {"CopyObject": 1}

    async with gated.writer("large", metadata={"m": "1"}) as writer:
        await writer.write(bytes(range(256)) * (17 * MIB // 256))
    monkeypatch.setattr("bucketline.store.s3._MOST_COPY_BYTES", 16 * MIB)
    gate.weather.append(Weather("CopyObject", status=400, code=code))
    await gated.copy("large", "large copy")
    assert gate.seen["UploadPartCopy"] == 2
    assert await gated.get("large copy") == await gated.get("large")
    assert (await gated.stat("large copy")).metadata == {"m": "1"}

    gate.weather.append(Weather("CopyObject", status=400, code="InvalidRequest"))
    with pytest.raises(StoreError, match="answered CopyObject"):
        await gated.copy("small", "copy")


async def test_a_store_that_cannot_copy_parts_is_served_all_the_same(gated: S3Store, gate: Gate) -> None:
    async with gated.writer("from") as writer:
        await writer.write(bytes(range(256)) * (17 * MIB // 256))
    gate.no_part_copies = True
    async with gated.writer("to") as writer:
        await writer.copy("from", 0, 17 * MIB)
    assert await gated.get("to") == await gated.get("from")


async def test_checksums_where_wanted_are_named_again_at_the_end(gated_address: str, gate: Gate) -> None:
    """AWS makes one for every part, and refuses a completing call that does not repeat them."""
    gate.strict = False
    store = open_store(gated_address + "?checksums=when_supported")
    async with store.writer("k") as writer:
        await writer.write(bytes(9 * MIB))
    assert gate.completed[-1].count(b"<ChecksumCRC") == 2
    await store.close()


def test_part_sizes_reach_the_largest_object_s3_knows() -> None:
    assert {part_bytes(number) for number in range(1, 4_001)} == {8 * MIB}
    assert sum(part_bytes(number) for number in range(1, 10_001)) > 400 * GIB
    for expected in (1, 80 * GIB, 5 * 1024 * GIB):
        size = part_bytes(1, expected)
        assert part_bytes(10_000, expected) == size
        assert size * 10_000 >= expected
    assert part_bytes(1, 5 * 1024 * GIB) <= 5 * GIB


@pytest.mark.parametrize("addressing", ["path", "virtual"])
async def test_where_the_buckets_name_goes_can_be_chosen(addressing: str, s3_environment: str) -> None:
    """A name in the host needs a DNS entry, which few stores off AWS have; there the path is what is taken."""
    chosen = "" if addressing == "path" else "&addressing=virtual"
    store = open_store("s3://some-bucket?endpoint=http://localhost:9" + chosen)
    assert isinstance(store, S3Store)
    url = await store.calls.call(
        lambda client: client.generate_presigned_url("get_object", Params={"Bucket": "some-bucket", "Key": "k"})
    )
    expected = "http://localhost:9/some-bucket/k" if addressing == "path" else "http://some-bucket.localhost:9/k"
    assert url.startswith(expected)
    await store.close()
