"""The store in a bucket of any S3: AWS, MinIO, R2, Ceph, SeaweedFS.

Comes in: what ``Store`` says. Goes out: S3 calls that every one of them understands. Nothing rests on what only some
offer: off AWS a conditional put is preceded by a look, so where the condition is ignored the look still holds (two racers
within one round trip may then both win; a store with conditions knows one). Waiting and errors are ``s3_calls``'
business, multipart uploads ``s3_writer``'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from bucketline.store.base import BLOCK_BYTES, Exists, NotFound, Stat, StoreError, StoreUnavailable, probe
from bucketline.store.patience import Patience
from bucketline.store.s3_calls import S3Calls
from bucketline.store.s3_errors import code_of
from bucketline.store.s3_metadata import MARK, from_headers, new_mark, to_headers
from bucketline.store.s3_options import S3Options
from bucketline.store.s3_stream import S3Stream, get_params
from bucketline.store.s3_writer import S3Writer
from bucketline.store.threads import read_ahead

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ListObjectsV2OutputTypeDef

__all__ = ["S3Store"]

_MOST_COPY_BYTES = 5 * 1024**3  # in one CopyObject


class S3Store:
    """A bucket and a prefix in it. Opening reaches nothing."""

    def __init__(self, options: S3Options, *, patience: Patience | None = None, calls: S3Calls | None = None) -> None:
        self.address = options.address
        self.bucket = options.bucket
        self.calls = calls or S3Calls(options, patience or Patience())
        self._options = options
        self._conditions = True  # until the store says that it has none

    def name(self, key: str) -> str:
        """The object's name in the bucket. Raises StoreError for an empty key."""
        if not key:
            raise StoreError("An object needs a name; the key is empty.")
        return self._options.prefix + key

    async def get(self, key: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> bytes:
        if length == 0:
            await self.stat(key)
            return b""
        params = get_params(self.bucket, self.name(key), offset, length, etag)

        def fetch(client: S3Client) -> bytes:
            try:
                answer = client.get_object(**params)
            except client.exceptions.ClientError as error:
                if code_of(error)[1] == 416:
                    return b""
                raise
            with contextlib.closing(answer["Body"]) as body:
                data: bytes = body.read()
                return data

        return await self.calls.call(fetch, key)

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> str:
        if if_absent:
            return await self._put_if_absent(key, data, metadata, content_type)
        params = self.making(metadata, content_type)
        return await self.calls.call(lambda client: self._send(client, key, data, params), key)

    def _send(self, client: S3Client, key: str, data: bytes, params: Mapping[str, Any]) -> str:
        return client.put_object(Bucket=self.bucket, Key=self.name(key), Body=data, **params)["ETag"].strip('"')

    async def _put_if_absent(
        self, key: str, data: bytes, metadata: Mapping[str, str] | None, content_type: str | None
    ) -> str:
        mark = new_mark()
        params = self.making(metadata, content_type, mark)
        sure = self.calls.on_aws and self._conditions
        if not sure and await self._look(key) is not None:
            raise Exists(f"The object {key!r} is already in {self.address}.")

        def send(client: S3Client) -> str:
            if self._conditions:
                try:
                    return self._send(client, key, data, params | {"IfNoneMatch": "*"})
                except client.exceptions.ClientError as error:
                    if code_of(error)[1] != 501:
                        raise
                    self._conditions = False
            return self._send(client, key, data, params)

        try:
            return await self.calls.call(send, key)
        except Exists:
            # Perhaps our own, when the answer to an earlier try was lost.
            head = await self._look(key)
            if head is None or head["Metadata"].get(MARK) != mark:
                raise
            return head["ETag"].strip('"')

    def making(
        self, metadata: Mapping[str, str] | None, content_type: str | None, mark: str | None = None
    ) -> dict[str, Any]:
        """What every call that makes an object says."""
        params: dict[str, Any] = dict(self._options.encryption())
        if headers := to_headers(metadata, mark):
            params["Metadata"] = headers
        if content_type:
            params["ContentType"] = content_type
        return params

    async def read(
        self, key: str, *, block_bytes: int = BLOCK_BYTES, etag: str | None = None, offset: int = 0
    ) -> AsyncIterator[bytes]:
        stream = S3Stream(self.bucket, self.name(key), offset, etag)
        try:
            async for block in read_ahead(
                lambda: self.calls.call(lambda client: stream.next(client, block_bytes), key)
            ):
                yield block
        finally:
            self.calls.forget(stream.close)

    @contextlib.asynccontextmanager
    async def writer(
        self,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expect_bytes: int | None = None,
    ) -> AsyncIterator[S3Writer]:
        writer = S3Writer(self, key, metadata, content_type, expect_bytes)
        try:
            yield writer
            await writer.commit()
        except BaseException:
            await writer.abort()
            raise

    async def _head(self, key: str) -> HeadObjectOutputTypeDef:
        return await self.calls.call(lambda client: client.head_object(Bucket=self.bucket, Key=self.name(key)), key)

    async def _look(self, key: str) -> HeadObjectOutputTypeDef | None:
        try:
            return await self._head(key)
        except NotFound:
            return None

    async def wrote(self, key: str, mark: str) -> bool:
        """Whether the object there is the one with this mark."""
        head = await self._look(key)
        return head is not None and head["Metadata"].get(MARK) == mark

    async def stat(self, key: str) -> Stat:
        head = await self._head(key)
        return Stat(
            key=key,
            size_bytes=head["ContentLength"],
            etag=head["ETag"].strip('"'),
            modified_s=head["LastModified"].timestamp(),
            metadata=from_headers(head["Metadata"]),
        )

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        async for page in self._pages(prefix):
            for each in page.get("Contents", ()):
                yield Stat(
                    key=each["Key"][len(self._options.prefix) :],
                    size_bytes=each["Size"],
                    etag=each["ETag"].strip('"'),
                    modified_s=each["LastModified"].timestamp(),
                )

    async def folders(self, prefix: str) -> AsyncIterator[str]:
        begun = len(self._options.prefix + prefix)
        async for page in self._pages(prefix, Delimiter="/"):
            for each in page.get("CommonPrefixes", ()):
                yield each["Prefix"][begun:-1]

    async def _pages(self, prefix: str, **more: str) -> AsyncIterator[ListObjectsV2OutputTypeDef]:
        params: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self._options.prefix + prefix, **more}
        while True:
            page = await self.calls.call(partial(_page, params=dict(params)), prefix)
            yield page
            if not page.get("IsTruncated"):
                return
            params["ContinuationToken"] = page["NextContinuationToken"]

    async def delete(self, key: str) -> None:
        with contextlib.suppress(NotFound):
            await self.calls.call(lambda client: client.delete_object(Bucket=self.bucket, Key=self.name(key)), key)

    async def copy(self, src: str, dst: str) -> None:
        params: dict[str, Any] = {
            "Bucket": self.bucket,
            "Key": self.name(dst),
            "CopySource": {"Bucket": self.bucket, "Key": self.name(src)},
        }
        params |= self._options.encryption()
        try:
            await self.calls.call(lambda client: client.copy_object(**params), src)
        except (NotFound, StoreUnavailable):
            raise
        except StoreError:
            # Perhaps it is too large for one call, which every store says in its own words; looking first, each time,
            # would double what a small copy costs.
            stated = await self.stat(src)
            if stated.size_bytes <= _MOST_COPY_BYTES:
                raise
            async with self.writer(dst, metadata=stated.metadata, expect_bytes=stated.size_bytes) as writer:
                await writer.copy(src, 0, stated.size_bytes)

    async def check(self) -> None:
        await probe(S3Store(self._options, calls=self.calls.impatient()))

    async def close(self) -> None:
        await self.calls.close()


def _page(client: S3Client, params: dict[str, Any]) -> ListObjectsV2OutputTypeDef:
    return client.list_objects_v2(**params)
