"""A bucket in bad weather: what is waited for, what is not, and what a lost answer does. No time passes here."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import boto3
import pytest

from bucketline.errors import ServiceUnavailable
from bucketline.store import Exists, NotFound, StoreFull, StoreUnavailable, open_store
from bucketline.store.patience import Patience
from bucketline.store.s3 import S3Store
from bucketline.store.s3_options import read_s3_address
from tests.conformance.store.conftest import Clock
from tests.conformance.store.gate import Gate, Weather, refuses_parts

MIB = 1 << 20
DATA = bytes(range(256)) * (17 * MIB // 256)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
async def test_a_busy_store_is_waited_for(gated: S3Store, gate: Gate, clock: Clock, status: int, code: str) -> None:
    """Over and above the SDK's three tries, with pauses that double up to a ceiling."""
    gate.weather.append(Weather("PutObject", times=14, status=status, code=code))
    await gated.put("k", b"x")
    assert await gated.get("k") == b"x"
    assert clock.sleeps == [0.2 * 2**n for n in range(len(clock.sleeps))]
    assert len(clock.sleeps) >= 4


async def test_patience_ends_in_a_sentence(gated: S3Store, gate: Gate, clock: Clock) -> None:
    await gated.put("k", b"x")
    gate.weather.append(Weather("GetObject", times=10_000, status=503))
    with pytest.raises(StoreUnavailable, match=r"answered SlowDown for \d+ s; try again later") as caught:
        await gated.get("k")
    assert isinstance(caught.value, ServiceUnavailable)
    assert caught.value.exit_code == 4
    assert 45 <= clock.now <= 60


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "AccessDenied", r"refuses PutObject \(AccessDenied\); allow s3:PutObject"),
        (403, "InvalidAccessKeyId", "does not know the access key"),
        (403, "SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY"),
        (404, "NoSuchBucket", "There is no bucket"),
        (400, "ExpiredToken", "have expired"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (301, "PermanentRedirect", "check its region"),
        (400, "KMS.DisabledException", "encryption key"),
    ],
)
async def test_what_will_not_pass_is_said_at_once(
    gated: S3Store, gate: Gate, clock: Clock, status: int, code: str, says: str
) -> None:
    """Five minutes of hope for a mistyped bucket would be cruel."""
    gate.weather.append(Weather("PutObject", times=100, status=status, code=code))
    with pytest.raises(StoreUnavailable, match=says) as caught:
        await gated.put("k", b"x")
    assert gated.bucket in str(caught.value)
    assert "testing" not in str(caught.value)
    assert clock.sleeps == []


@pytest.mark.parametrize(("status", "code"), [(507, "XMinioStorageFull"), (403, "QuotaExceeded")])
async def test_a_full_store_says_so(gated: S3Store, gate: Gate, status: int, code: str) -> None:
    gate.weather.append(Weather("PutObject", times=100, status=status, code=code))
    with pytest.raises(StoreFull, match="no room"):
        await gated.put("k", b"x")


async def test_a_store_that_never_answered_is_not_waited_for_long(
    gated_address: str, gate: Gate, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    options = read_s3_address(gated_address + "?endpoint=http://127.0.0.1:9")
    patience = Patience(total_s=300, clock=clock, sleep=clock.sleep, dice=lambda: 1.0)
    store = S3Store(options, patience=patience)
    with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1:9 .* could not be reached .*AWS_ENDPOINT_URL_S3"):
        await store.get("k")
    assert 0 < clock.now <= patience.first_s
    clock.sleeps.clear()
    with pytest.raises(StoreUnavailable, match="could not be reached"):
        await store.check()
    assert clock.sleeps == []
    await store.close()


async def test_no_credentials_is_a_sentence(gated_address: str, gate: Gate, monkeypatch: Any) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store(gated_address)
    with pytest.raises(StoreUnavailable, match=r"no credentials .* set AWS_ACCESS_KEY_ID"):
        await store.check()
    await store.close()


async def test_a_download_that_breaks_off_goes_on_where_it_was(gated: S3Store, gate: Gate) -> None:
    await gated.put("k", DATA)
    gate.weather.append(Weather("GetObject", times=1, cut_after=3 * MIB + 11))
    gate.weather.append(Weather("GetObject", times=1, cut_after=5 * MIB + 3))
    assert b"".join([block async for block in gated.read("k")]) == DATA
    assert gate.seen["GetObject"] == 3
    gate.weather.append(Weather("GetObject", times=1, cut_after=5))
    assert await gated.get("k", offset=7, length=MIB) == DATA[7 : 7 + MIB]


async def test_the_winner_whose_answer_was_lost_knows_that_it_won(gated: S3Store, gate: Gate) -> None:
    """Else the SDK's second try meets our own object, and nobody takes the batch."""
    gate.weather.append(Weather("PutObject", times=1, lose=True))
    assert await gated.put("claim", b"me", if_absent=True)
    assert (await gated.stat("claim")).metadata == {}
    with pytest.raises(Exists):
        await gated.put("claim", b"me", if_absent=True)


async def test_a_completed_upload_whose_answer_was_lost_is_complete(gated: S3Store, gate: Gate) -> None:
    gate.weather.append(Weather("CompleteMultipartUpload", times=1, lose=True))
    async with gated.writer("k") as writer:
        await writer.write(DATA)
    assert (await gated.stat("k")).size_bytes == len(DATA)


@pytest.mark.parametrize("conditions", ["ignored", "refused"])
async def test_without_conditional_writes_a_look_must_do(gated: S3Store, gate: Gate, conditions: str) -> None:
    gate.conditions = conditions
    await gated.put("k", b"one", if_absent=True)
    with pytest.raises(Exists):
        await gated.put("k", b"two", if_absent=True)
    assert await gated.get("k") == b"one"


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
async def test_a_failed_upload_is_aborted(gated: S3Store, gate: Gate, operation: str) -> None:
    """Parts nobody completes are invisible and paid for until the end of time."""
    gate.weather.append(Weather(operation, times=100, status=403, code="AccessDenied"))
    with pytest.raises(StoreUnavailable, match=f"refuses {operation}"):
        async with gated.writer("k") as writer:
            await writer.write(DATA)
    assert gate.seen["AbortMultipartUpload"] == 1
    assert _uploads(gated) == []
    with pytest.raises(NotFound):
        await gated.stat("k")


async def test_a_cancelled_upload_is_aborted_after_its_last_part_has_landed(gated: S3Store, gate: Gate) -> None:
    begun = asyncio.Event()

    async def write() -> None:
        async with gated.writer("k") as writer:
            await writer.write(DATA)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.seen["AbortMultipartUpload"] == 1
    assert _uploads(gated) == []


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart"])
async def test_a_cancellation_waits_for_what_is_on_its_way(gated: S3Store, gate: Gate, operation: str) -> None:
    """An upload whose name was not yet known, or a part that lands after the abort, would stay."""
    held = Weather(operation, times=1, hold=threading.Event())
    gate.weather.append(held)

    async def write() -> None:
        async with gated.writer("k") as writer:
            await writer.write(DATA)
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await asyncio.to_thread(held.held.wait, 30)
    task.cancel()
    await asyncio.wait({task}, timeout=0.05)
    assert not task.done()
    assert gate.seen["AbortMultipartUpload"] == 0
    assert held.hold is not None
    held.hold.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.seen["AbortMultipartUpload"] == 1
    assert _uploads(gated) == []


def _uploads(store: S3Store) -> list[Any]:
    client = boto3.session.Session().client("s3")
    try:
        return list(client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", []))
    finally:
        client.close()


def test_the_gate_refuses_what_strict_stores_refuse(gate: Gate, gated_address: str) -> None:
    """The judge can say no: the SDK as it comes does not get through."""
    bucket = gated_address.split("/")[2]
    client = boto3.session.Session().client("s3")
    with pytest.raises(client.exceptions.ClientError, match="NotImplemented"):
        client.put_object(Bucket=bucket, Key="k", Body=b"x")
    client.close()
    assert gate.refused["NotImplemented"] > 0
    assert refuses_parts([5 * MIB, 5 * MIB, 1]) is None
    assert refuses_parts([5_000_000, 1]) == "EntityTooSmall"
    assert refuses_parts([5 * MIB, 6 * MIB, 1]) == "InvalidPart"
    assert refuses_parts([5 * MIB, 6 * MIB]) == "InvalidPart"
