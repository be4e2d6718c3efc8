"""The store in a folder, of this machine or shared over a network: every object is a file of the same name.

Comes in: what ``Store`` says. Goes out: files that appear whole or not at all (temporary file, ``fsync``, rename or
link, ``fsync`` of the folder). People may put files there by hand and read what is there. ETags are time, size and inode
(``folder_file.etag_of``); how keys become paths is ``paths``' business, what happens on the disk ``folder_disk``'s. Here
is only the way from the event loop to the threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import islice

from bucketline.store.base import BLOCK_BYTES, Stat, StoreError, probe
from bucketline.store.folder_disk import Disk
from bucketline.store.folder_file import TemporaryFile
from bucketline.store.threads import Threads, read_ahead

__all__ = ["FolderStore", "FolderWriter"]

_THREADS = 4
_WRITE_BYTES = 2 * BLOCK_BYTES  # twice this is in memory; a thread waits for the interpreter twice a block
_PAGE = 500  # files looked at in one go by ``list``


class FolderStore:
    """A folder; made when the first object is written."""

    def __init__(self, folder: str, *, address: str | None = None, now: Callable[[], float] = time.time) -> None:
        self.address = address or folder
        self._disk = Disk(os.path.abspath(folder), self.address, now)
        self._threads = Threads("folder", _THREADS)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> bytes:
        return await self._threads.run(self._disk.get, key, offset, length, etag)

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> str:
        return await self._threads.run(self._disk.put, key, data, if_absent, metadata)

    async def read(
        self, key: str, *, block_bytes: int = BLOCK_BYTES, etag: str | None = None, offset: int = 0
    ) -> AsyncIterator[bytes]:
        opened = await self._threads.run(self._disk.open, key, etag)
        position = offset

        async def fetch() -> bytes:
            nonlocal position
            block = await self._threads.run(opened.range, position, block_bytes)
            position += len(block)
            return block

        try:
            async for block in read_ahead(fetch):
                yield block
        finally:
            self._threads.forget(opened.close)

    @contextlib.asynccontextmanager
    async def writer(
        self,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expect_bytes: int | None = None,
    ) -> AsyncIterator[FolderWriter]:
        file = await self._threads.run(self._disk.begin, key)
        writer = FolderWriter(key, file, self._disk, self._threads)
        try:
            yield writer
            await writer.flush()
            await self._threads.run(self._disk.commit, file, key, metadata)
        finally:
            writer.abandon()
            await self._threads.finish(file.discard)

    async def stat(self, key: str) -> Stat:
        return await self._threads.run(self._disk.stat, key)

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        found = self._disk.walk(prefix)
        while page := await self._threads.run(tuple, islice(found, _PAGE)):
            for each in page:
                yield each

    async def folders(self, prefix: str) -> AsyncIterator[str]:
        for name in await self._threads.run(self._disk.folders, prefix):
            yield name

    async def delete(self, key: str) -> None:
        await self._threads.run(self._disk.delete, key)

    async def copy(self, src: str, dst: str) -> None:
        await self._threads.run(self._disk.copy, src, dst)

    async def check(self) -> None:
        await probe(self)

    async def close(self) -> None:
        await self._threads.close()


class FolderWriter:
    """Gathers small writes, so that a thread is asked once a block; one block is digested and written while the next
    is gathered.
    """

    def __init__(self, key: str, file: TemporaryFile, disk: Disk, threads: Threads) -> None:
        self._key, self._file, self._disk, self._threads = key, file, disk, threads
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._size_bytes = 0
        self._copied = False
        self._landing: asyncio.Task[None] | None = None

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def sha256(self) -> str:
        if self._copied:
            raise StoreError(f"The digest of {self._key!r} is unknown: parts of it were copied unseen.")
        return self._file.sha256

    async def write(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        self._size_bytes += len(data)
        if self._held_bytes >= _WRITE_BYTES:
            await self._hand_over()

    async def copy(self, key: str, offset: int, length: int) -> None:
        await self.flush()
        self._copied = True
        await self._threads.run(self._disk.append, self._file, key, offset, length)
        self._size_bytes += length

    async def flush(self) -> None:
        """Wait until all is in the file."""
        await self._hand_over()
        await self._landed()

    def abandon(self) -> None:
        """Nobody will ask what became of the last block."""
        if self._landing is not None:
            self._landing.cancel()
            self._landing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _hand_over(self) -> None:
        await self._landed()
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            write = self._threads.run(self._disk.write, self._file, self._key, held)
            self._landing = asyncio.create_task(write)

    async def _landed(self) -> None:
        landing, self._landing = self._landing, None
        if landing is not None:
            await landing
