"""An object being read from a bucket: one GET, taken up again where it broke off.

Comes in: a key, a start, and the wanted ETag. Goes out: blocks of one version: the first answer's ETag is asked of all
later ones. ``next`` blocks and is called in a thread, again after a failure, by ``s3``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from bucketline.store.s3_errors import code_of

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Stream", "get_params", "quoted"]


def quoted(etag: str) -> str:
    return f'"{etag}"'


def get_params(bucket: str, key: str, offset: int, length: int | None, etag: str | None) -> dict[str, Any]:
    """A GET of a range. From the start to the end no range is named: an empty object has none."""
    params: dict[str, Any] = {"Bucket": bucket, "Key": key}
    if offset or length is not None:
        params["Range"] = f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"
    if etag:
        params["IfMatch"] = quoted(etag)
    return params


class S3Stream:
    """Where the reading stands."""

    def __init__(self, bucket: str, key: str, offset: int, etag: str | None) -> None:
        self._bucket, self._key, self._etag = bucket, key, etag
        self._position = offset
        self._end: int | None = None
        self._body: StreamingBody | None = None
        self._closed = False
        self._guard = threading.Lock()

    def next(self, client: S3Client, block_bytes: int) -> bytes:
        """The next block, or nothing at the end; after an exception it may be called again."""
        from botocore.exceptions import IncompleteReadError

        with self._guard:
            if self._closed or self._position == self._end:
                self._drop()
                return b""
            try:
                body = self._body or self._open(client)
                if body is None:
                    return b""
                block: bytes = body.read(block_bytes)
                if not block and self._position != self._end:
                    raise IncompleteReadError(actual_bytes=self._position, expected_bytes=self._end or 0)
            except Exception:
                self._drop()
                raise
            self._position += len(block)
            return block

    def _open(self, client: S3Client) -> StreamingBody | None:
        """None for a start behind the end."""
        params = get_params(self._bucket, self._key, self._position, None, self._etag)
        try:
            answer = client.get_object(**params)
        except client.exceptions.ClientError as error:
            if code_of(error)[1] != 416:
                raise
            self._end = self._position
            return None
        self._etag = answer["ETag"].strip('"')
        self._end = self._position + answer["ContentLength"]
        self._body = answer["Body"]
        return answer["Body"]

    def close(self) -> None:
        with self._guard:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
