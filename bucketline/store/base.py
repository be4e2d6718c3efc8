"""What a store is: objects under names, in a folder or in a bucket, and what can go wrong with them.

Comes in: keys, which are text relative to the store's prefix (any unicode, blanks, ``+``, ``%``; ``/`` is only a
character). Goes out: bytes, ``Stat``, and the errors below, each one sentence. Everything that keeps objects goes
through ``Store``; ``folder`` and ``s3`` are its two plugs, held to the same tests. It knows nothing of batches.

    BucketlineError
    └── StoreError               2
        ├── NotFound             2   no such object
        ├── Exists               2   ``if_absent`` and it is there
        ├── Changed              2   not the object whose ETag was named
        └── StoreUnavailable     4   cannot be reached or used (also a ServiceUnavailable)
            └── StoreFull        4   no room left
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from bucketline.errors import BucketlineError, ServiceUnavailable

__all__ = [
    "BLOCK_BYTES",
    "Changed",
    "Exists",
    "NotFound",
    "Stat",
    "Store",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "Writer",
    "probe",
]

BLOCK_BYTES = 1 << 20  #: how much ``Store.read`` yields at a time; twice this is in memory


class StoreError(BucketlineError):
    """A store cannot do what was asked; the text names the object or the store, never a secret."""


class NotFound(StoreError):
    """There is no such object."""


class Exists(StoreError):
    """``if_absent`` was asked and the object is there; nothing was written."""


class Changed(StoreError):
    """The object is no longer the one whose ETag was named."""


class StoreUnavailable(StoreError, ServiceUnavailable):
    """The store cannot be reached or does not let us in; the text says what to check."""


class StoreFull(StoreUnavailable):
    """The store has no room; nothing half-written is visible."""


@dataclass(frozen=True, slots=True)
class Stat:
    """One object, without its bytes."""

    key: str
    size_bytes: int
    etag: str  #: changes whenever the bytes do; without quotes; of no further meaning
    modified_s: float  #: Unix time
    metadata: Mapping[str, str] = field(default_factory=dict)  #: as it was given; empty from ``list``


class Writer(Protocol):
    """An object being written; it is visible only once the ``async with`` around it has ended well."""

    @property
    def size_bytes(self) -> int:
        """Bytes taken so far."""

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes, once committed. Raises StoreError after ``copy``: those bytes were never here."""

    async def write(self, data: bytes) -> None:
        """Take bytes of any size. Raises StoreError."""

    async def copy(self, key: str, offset: int, length: int) -> None:
        """Append a range of another object of this store, inside the store where it can. Raises NotFound, Changed
        when the object ends before the range does.
        """


class Store(Protocol):
    """Objects under keys. Every method may raise StoreUnavailable; none blocks the event loop."""

    @property
    def address(self) -> str:
        """The store as it was named, for people; holds no secret."""

    async def get(self, key: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> bytes:
        """An object or a range of it in memory; a range past the end is short or empty. Raises NotFound, Changed."""

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> str:
        """Write an object whole and return its ETag. Raises Exists when ``if_absent`` and it is there: atomically in a
        folder and in every store with conditional writes; in others two racing writers may both be told they won.
        """

    def read(
        self, key: str, *, block_bytes: int = BLOCK_BYTES, etag: str | None = None, offset: int = 0
    ) -> AsyncIterator[bytes]:
        """The object's bytes in blocks, one block read ahead. All blocks are of one version. Raises NotFound,
        Changed.
        """

    def writer(
        self,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expect_bytes: int | None = None,
    ) -> AbstractAsyncContextManager[Writer]:
        """Write an object in a stream, in flat memory: committed at a clean exit, undone at any exception.

        ``expect_bytes``, if known, is the most it may become; only objects of many GiB gain by it.
        """

    async def stat(self, key: str) -> Stat:
        """Raises NotFound."""

    def list(self, prefix: str) -> AsyncIterator[Stat]:
        """All objects whose key begins with ``prefix``, in key order (code points), fetched page by page.

        SeaweedFS keeps folders, and lists a folder's objects before the names after it: ``a/b`` before ``a-b``. Within
        one folder the order is the same everywhere.
        """

    def folders(self, prefix: str) -> AsyncIterator[str]:
        """What keys that begin with ``prefix`` (which ends in ``/``, or is empty) go on with up to their next ``/``.

        Each name once, without its ``/``, in order; what lies in them is neither listed nor paid for.
        """

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""

    async def copy(self, src: str, dst: str) -> None:
        """Copy an object with its metadata, inside the store. Raises NotFound."""

    async def check(self) -> None:
        """Write, read, list and delete a probe, without patience. Raises StoreUnavailable with one sentence."""

    async def close(self) -> None:
        """Let go of threads and connections."""


async def probe(store: Store) -> None:
    """What ``Store.check`` does in every store. Raises StoreUnavailable when a store answers but does not keep."""
    key, data = f"bucketline-probe-{uuid.uuid4().hex}", b"bucketline"
    await store.put(key, data)
    try:
        if await store.get(key) != data:
            raise StoreUnavailable(f"The store {store.address} gave back other bytes than were put there.")
        if [stat.key async for stat in store.list(key)] != [key]:
            raise StoreUnavailable(f"The store {store.address} does not list an object that was put there.")
    finally:
        await store.delete(key)
