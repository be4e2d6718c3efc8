"""Where an input comes from: a path, standard input, an ``s3://`` address, an object of the store, or Python dicts.

Comes in: what the user named. Goes out: an ``InputStream`` with a name and unpacked blocks of bytes, at a flat memory of
a block. gzip and zstd are known by their first bytes, whatever the name says. Called by ``submit`` and ``estimate``. It
does not look into lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bucketline.errors import InputError, UsageError
from bucketline.splice import dumps
from bucketline.store import Changed, NotFound, Store
from bucketline.store.open import open_object
from producer.unpack import unpacked

__all__ = ["BLOCK_BYTES", "InputStream", "Replaced", "Source", "StoredInput", "open_source"]

BLOCK_BYTES = 1024 * 1024  #: read and scanned at once: some five milliseconds of the loop

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An object of the store itself, pinned to a version where ``etag`` is given."""

    key: str
    etag: str | None = None


class Replaced(InputError):
    """The object is not the one that was meant: another version took its place, or it has gone."""


@dataclass(frozen=True, slots=True)
class InputStream:
    """An open input: what to call it, and its unpacked bytes."""

    name: str
    blocks: AsyncIterator[bytes]


Source = str | os.PathLike[str] | StoredInput | InputStream | Iterable[Item] | AsyncIterable[Item]


@contextlib.asynccontextmanager
async def open_source(source: Source, store: Store) -> AsyncIterator[InputStream]:
    """Open an input for one pass. Raises InputError with one sentence when it cannot be read."""
    if isinstance(source, InputStream):
        yield source
    elif isinstance(source, StoredInput):
        yield InputStream(source.key, unpacked(_object(store, source.key, source.etag, source.key), source.key))
    elif isinstance(source, str) and source.startswith("s3://"):
        other, key = open_object(source)
        try:
            yield InputStream(source, unpacked(_object(other, key, None, source), source))
        finally:
            await other.close()
    elif isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        file, regular = await asyncio.to_thread(_open, name)
        try:
            yield InputStream(name, unpacked(_file(file, name, regular=regular), name))
        finally:
            if name != "-":
                os.close(file)
    else:
        yield InputStream("python", _encoded(source))


def _open(name: str) -> tuple[int, bool]:
    """An open file, and whether a read of it always comes back (a terminal's or a pipe's may not)."""
    if name == "-":
        return sys.stdin.fileno(), False
    try:
        file = os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise InputError(f"There is no file {name}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {_reason(error)}.") from None
    mode = os.fstat(file).st_mode
    if stat.S_ISDIR(mode):
        os.close(file)
        raise InputError(f"{name} is a folder; give one file of JSON lines.")
    return file, stat.S_ISREG(mode)


async def _file(file: int, name: str, *, regular: bool) -> AsyncIterator[bytes]:
    while True:
        try:
            block = await (asyncio.to_thread(os.read, file, BLOCK_BYTES) if regular else _read_apart(file))
        except OSError as error:
            raise InputError(f"{name} cannot be read: {_reason(error)}.") from None
        if not block:
            return
        yield block


def _read_apart(file: int) -> asyncio.Future[bytes]:
    """One read in a thread that nobody waits for at the end, so that Ctrl-C ends a program whose input is silent."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        block, failed = b"", None
        try:
            block = os.read(file, BLOCK_BYTES)
        except OSError as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_answer, answer, block, failed)

    threading.Thread(target=read, name="input", daemon=True).start()
    return answer


def _answer(answer: asyncio.Future[bytes], block: bytes, failed: OSError | None) -> None:
    if answer.cancelled():
        return
    if failed is None:
        answer.set_result(block)
    else:
        answer.set_exception(failed)


async def _object(store: Store, key: str, etag: str | None, name: str) -> AsyncIterator[bytes]:
    """The bytes of one version of an object; a replacement while it is read is noticed."""
    try:
        pinned = etag or (await store.stat(key)).etag
        async for block in store.read(key, block_bytes=BLOCK_BYTES, etag=pinned):
            yield block
    except NotFound:
        raise Replaced(f"There is no object {name}.") from None
    except Changed:
        raise Replaced(f"{name} was replaced while it was being read; submit it again.") from None


async def _encoded(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[bytes]:
    """Dicts as lines, in blocks."""
    held: list[bytes] = []
    size = number = 0
    async for item in _each(items):
        number += 1
        try:
            line = dumps(item if isinstance(item, dict) else dict(item))
        except (TypeError, ValueError) as error:
            raise InputError(f"Item {number} cannot be written as JSON: {_reason(error)}.") from None
        held.append(line)
        size += len(line)
        if size >= BLOCK_BYTES:
            yield b"\n".join([*held, b""])
            held, size = [], 0
            await asyncio.sleep(0)
    if held:
        yield b"\n".join([*held, b""])


async def _each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    elif not isinstance(items, Mapping | bytes) and hasattr(items, "__iter__"):
        for item in items:
            yield item
    else:
        raise UsageError(f"A batch is a path, an s3:// address or an iterable of dicts, not {type(items).__name__}.")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:].rstrip(".")
