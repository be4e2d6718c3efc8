"""Calls to one bucket: the SDK's client in a few threads, errors in our words, patience over the SDK's own.

Comes in: a function that makes a blocking call with the client. Goes out: its result, or a ``StoreError``. The client is
made once, in a thread, at the first call: the SDK is imported only then. Used by ``s3``, ``s3_stream``, ``s3_writer``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from bucketline.store.base import StoreError
from bucketline.store.patience import Patience
from bucketline.store.s3_errors import code_of, explain, given_up
from bucketline.store.s3_options import S3Options, is_aws
from bucketline.store.threads import Threads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Calls"]

T = TypeVar("T")

_THREADS = 8
_CONNECTIONS = 32  # a stream that is read slowly holds one without holding a thread
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60


class S3Calls:
    """One bucket, as the calls see it."""

    def __init__(self, options: S3Options, patience: Patience, shared: _Client | None = None) -> None:
        self.options = options
        self.patience = patience
        self._client = shared or _Client(options)

    def impatient(self) -> S3Calls:
        """The same client and threads, without waiting."""
        return S3Calls(self.options, self.patience.none(), self._client)

    @property
    def on_aws(self) -> bool:
        """Known after the first call."""
        return self._client.on_aws

    async def call(self, operation: Callable[[S3Client], T], key: str = "", *, patience: Patience | None = None) -> T:
        """Make a call until it succeeds, fails for good, or patience has run out. Raises StoreError."""
        patience = patience or self.patience
        began, failures = patience.clock(), 0
        while True:
            try:
                return await self._client.threads.run(self._client.use, operation)
            except StoreError:
                raise  # ours already: a refusal that never went out
            except Exception as error:
                spent = patience.clock() - began
                final = explain(error, self.options.bucket, self._client.endpoint, key)
                if final is not None:
                    raise final from None
                pause = patience.pause_s(failures, spent, reached=self._client.reached)
                if pause is None:
                    raise given_up(error, self.options.bucket, self._client.endpoint, spent) from None
            failures += 1
            await patience.sleep(pause)

    def forget(self, call: Callable[[], object]) -> None:
        self._client.threads.forget(call)

    async def compute(self, call: Callable[..., T], *args: Any) -> T:
        """Work that is no call but would hold up the event loop."""
        return await self._client.threads.run(call, *args)

    async def close(self) -> None:
        await self._client.close()


class _Client:
    """The SDK's client, made when first used; it may be shared between threads, its making may not."""

    def __init__(self, options: S3Options) -> None:
        self.threads = Threads("s3", _THREADS)
        self.endpoint = _bare(options.endpoint) if options.endpoint else "AWS"
        self.on_aws = False
        self.reached = False
        self._options = options
        self._client: S3Client | None = None
        self._making = threading.Lock()

    def use(self, operation: Callable[[S3Client], T]) -> T:
        with self._making:
            client = self._client or self._make()
        try:
            result = operation(client)
        except Exception as error:
            self.reached = self.reached or code_of(error)[1] > 0
            raise
        self.reached = True
        return result

    def _make(self) -> S3Client:
        import boto3

        session = boto3.session.Session()
        client = _client(session, self._options, aws=False)
        self.on_aws = is_aws(client.meta.endpoint_url)
        if self.on_aws:
            client.close()
            client = _client(session, self._options, aws=True)
        self.endpoint = _bare(client.meta.endpoint_url)
        self._client = client
        return client

    async def close(self) -> None:
        await self.threads.close()
        if self._client is not None:
            self._client.close()


def _client(session: Any, options: S3Options, *, aws: bool) -> S3Client:
    """Whether the endpoint is Amazon's is known only from a client, so the careful one is made first.

    Off AWS the SDK's default checksums, sent as trailers, are refused by several stores; and a bucket's name in the
    host needs a DNS entry that few of them have.
    """
    from botocore.config import Config

    extra: dict[str, Any] = {}
    checksums = options.checksums or (None if aws else "when_required")
    if checksums:
        extra = {"request_checksum_calculation": checksums, "response_checksum_validation": checksums}
    addressing = options.addressing or (None if aws else "path")
    if addressing:
        extra["s3"] = {"addressing_style": addressing}
    config = Config(
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=_CONNECTIONS,
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        tcp_keepalive=True,
        **extra,
    )
    client: S3Client = session.client("s3", endpoint_url=options.endpoint, region_name=options.region, config=config)
    return client


def _bare(endpoint: str) -> str:
    """An endpoint without what may be secret in it."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "the named endpoint"
