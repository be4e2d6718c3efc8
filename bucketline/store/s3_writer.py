"""An object being written to a bucket: one PUT when small, else a multipart upload of equal parts.

Comes in: bytes of any size, or ranges of other objects. Goes out: the object, visible only at ``commit``; or nothing, the
upload aborted after its last part has landed, so no part is left behind. Two parts travel while one is filled: three
parts of memory. Called by ``s3``.

Parts are of one size, because some stores (Cloudflare R2) want it so. There may be 10,000. Without a word on the
object's size the first 4,000 have 8 MiB, and only an object over 31 GiB gets larger ones: 406 GiB in all. With
``expect_bytes`` all are equal whatever the size. (Amazon S3 User Guide, "Multipart upload limits".)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bucketline.store.base import Changed, Stat, StoreError, StoreUnavailable
from bucketline.store.s3_errors import code_of
from bucketline.store.s3_metadata import new_mark
from bucketline.store.s3_stream import quoted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from bucketline.store.s3 import S3Store

__all__ = ["S3Writer", "part_bytes"]

MIB = 1 << 20
_LEAST_PART_BYTES = 8 * MIB
_MOST_PARTS = 10_000
_STEPS = ((4_000, 1), (8_000, 4), (_MOST_PARTS, 16))  # up to this part, so many times the least
_IN_FLIGHT = 2
_LANDING_S = 20.0  # how long an abort waits for what is on its way; a store that hangs must not hold up a stop


def part_bytes(number: int, expect_bytes: int | None = None) -> int:
    """The size of a part, counted from 1. Raises StoreError beyond the last."""
    if number > _MOST_PARTS:
        raise StoreError("An object in a bucket has at most 10,000 parts; this one is larger than was expected.")
    if expect_bytes is None:
        return next(factor for last, factor in _STEPS if number <= last) * _LEAST_PART_BYTES
    needed = -(-expect_bytes // (_MOST_PARTS - 1))
    return max(_LEAST_PART_BYTES, -(-needed // MIB) * MIB)


class S3Writer:
    """One object on its way."""

    def __init__(
        self,
        store: S3Store,
        key: str,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        expect_bytes: int | None,
    ) -> None:
        self._store, self._calls, self._key = store, store.calls, key
        self._name = {"Bucket": store.bucket, "Key": store.name(key)}
        self._metadata, self._content_type, self._expect_bytes = metadata, content_type, expect_bytes
        self._held = bytearray()
        self._size_bytes = 0
        self._digest: hashlib._Hash | None = hashlib.sha256()
        self._upload_id: str | None = None
        self._opening: asyncio.Future[str] | None = None
        self._mark = new_mark()
        self._parts: list[asyncio.Task[dict[str, Any]]] = []
        self._sources: dict[str, Stat] = {}
        self._gate = _Gate()

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def sha256(self) -> str:
        if self._digest is None:
            raise StoreError(f"The digest of {self._key!r} is unknown: parts of it were copied unseen.")
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            piece = view[: self._part_bytes() - len(self._held)]
            view = view[len(piece) :]
            self._held += piece
            self._size_bytes += len(piece)
            if len(self._held) == self._part_bytes():
                await self._send(await self._take())

    async def copy(self, key: str, offset: int, length: int) -> None:
        """Bytes fill the part that is begun; whole parts after it are copied inside the store; the rest is read."""
        source = self._sources.get(key) or self._sources.setdefault(key, await self._store.stat(key))
        if offset + length > source.size_bytes:
            raise Changed(f"The object {key!r} in {self._store.address} ends before the range that was asked for.")
        self._digest = None
        while length:
            part = self._part_bytes()
            if not self._held and length >= part:
                step = part
                await self._send_copy(key, offset, step, source.etag)
                self._size_bytes += step
            else:
                step = min(part - len(self._held), length)
                await self.write(await self._store.get(key, offset=offset, length=step, etag=source.etag))
            offset, length = offset + step, length - step

    async def commit(self) -> None:
        """Make the object visible. Raises StoreError."""
        block = await self._take()
        if self._upload_id is None:
            await self._store.put(self._key, block, metadata=self._metadata, content_type=self._content_type)
            return
        if block:
            await self._send(block)
        parts = [await part for part in self._parts]
        upload: dict[str, Any] = {**self._name, "UploadId": self._upload_id, "MultipartUpload": {"Parts": parts}}
        try:
            await self._calls.call(lambda client: client.complete_multipart_upload(**upload), self._key)
        except StoreUnavailable:
            raise
        except StoreError:
            # Perhaps it was completed, and the answer to that was lost.
            if not await self._store.wrote(self._key, self._mark):
                raise

    async def abort(self) -> None:
        """Undo: called for any exception, cancellation too, and finished even when cancelled again."""
        for part in self._parts:
            part.cancel()
        if self._opening is not None:
            await asyncio.shield(asyncio.ensure_future(self._abort(self._opening)))

    async def _abort(self, opening: asyncio.Future[str]) -> None:
        await asyncio.gather(*self._parts, return_exceptions=True)
        try:
            upload: dict[str, Any] = {**self._name, "UploadId": await asyncio.wait_for(opening, _LANDING_S)}
        except (StoreError, TimeoutError):
            return  # never opened

        def abort(client: S3Client) -> None:
            self._gate.shut()
            client.abort_multipart_upload(**upload)

        with contextlib.suppress(StoreError):  # what made us abort is what is to be told
            await self._calls.impatient().call(abort, self._key)

    def _part_bytes(self) -> int:
        return part_bytes(len(self._parts) + 1, self._expect_bytes)

    async def _take(self) -> bytes:
        """What is held, as one block."""
        held, self._held = self._held, bytearray()
        return await self._calls.compute(self._seal, held)

    def _seal(self, held: bytearray) -> bytes:
        """In a thread: digesting a part takes milliseconds."""
        if self._digest is not None:
            self._digest.update(held)
        return bytes(held)

    async def _send(self, block: bytes) -> None:
        part = await self._begin()
        self._launch(part, lambda client: dict(client.upload_part(**part, Body=block)))

    async def _send_copy(self, key: str, offset: int, length: int, etag: str) -> None:
        part = await self._begin()
        source: dict[str, Any] = {"Bucket": self._store.bucket, "Key": self._store.name(key)}
        last = offset + length - 1

        def copy(client: S3Client) -> dict[str, Any]:
            whole: dict[str, Any] = {"CopySource": source, "CopySourceIfMatch": quoted(etag)}
            try:
                return dict(
                    client.upload_part_copy(**part, **whole, CopySourceRange=f"bytes={offset}-{last}")["CopyPartResult"]
                )
            except client.exceptions.ClientError as error:
                if code_of(error)[1] != 501:
                    raise
            # A store that cannot copy parts: through here, then.
            body = client.get_object(**source, Range=f"bytes={offset}-{last}", IfMatch=quoted(etag))["Body"]
            with contextlib.closing(body):
                return dict(client.upload_part(**part, Body=body.read()))

        self._launch(part, copy)

    async def _begin(self) -> dict[str, Any]:
        """What names the next part, once two at most are on their way; the first part opens the upload."""
        flying = [part for part in self._parts[-_IN_FLIGHT - 1 :] if not part.done()]
        if len(flying) >= _IN_FLIGHT:
            await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
        for part in self._parts[-_IN_FLIGHT - 1 :]:
            if part.done():
                part.result()  # a lost part ends the writing now, not at the end
        if self._upload_id is None:
            # Shielded: whoever cancels us here must still learn which upload to abort.
            self._opening = asyncio.ensure_future(self._open())
            self._upload_id = await asyncio.shield(self._opening)
        return {**self._name, "UploadId": self._upload_id, "PartNumber": len(self._parts) + 1}

    async def _open(self) -> str:
        making = self._name | self._store.making(self._metadata, self._content_type, self._mark)
        opened = await self._calls.call(lambda client: client.create_multipart_upload(**making), self._key)
        return opened["UploadId"]

    def _launch(self, part: Mapping[str, Any], send: Callable[[S3Client], dict[str, Any]]) -> None:
        number = part["PartNumber"]

        def guarded(client: S3Client) -> dict[str, Any]:
            with self._gate:
                answer = send(client)
            # Where the SDK made a checksum for the part, the completing call must name it.
            sums = {name: value for name, value in answer.items() if name.startswith("Checksum") and value}
            return {"PartNumber": number, "ETag": answer["ETag"], **sums}

        self._parts.append(asyncio.ensure_future(self._calls.call(guarded, self._key)))


class _Gate:
    """Parts on their way in threads. Once shut it lets none through, and shutting waits for those inside: a part that
    lands after the abort would stay, unseen and paid for.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._open = True
        self._moved = threading.Condition()

    def __enter__(self) -> None:
        with self._moved:
            if not self._open:
                raise StoreError("The upload was given up.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._moved:
            self._inside -= 1
            self._moved.notify_all()

    def shut(self) -> None:
        with self._moved:
            self._open = False
            self._moved.wait_for(lambda: self._inside == 0, timeout=_LANDING_S)
