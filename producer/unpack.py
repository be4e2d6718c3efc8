"""Compressed input, unpacked on the way.

Comes in: blocks of bytes. Goes out: the same bytes where they are not compressed, else what gzip or zstd unpacks, in
blocks of bounded size: a small file that unpacks to a huge one costs time, never memory. Called by ``source``.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from bucketline.errors import InputError

__all__ = ["unpacked"]

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MOST_BYTES = 1024 * 1024  #: unpacked at once
_PIECE_BYTES = 1024  #: of zstd fed at once; a kilobyte unpacks to 32 MB at the very most


class _Unpacker(Protocol):
    """Pushed compressed bytes, yields plain ones; ``whole`` is false inside a stream."""

    whole: bool

    def feed(self, block: bytes) -> Iterator[bytes]: ...


async def unpacked(blocks: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    """The plain bytes of a stream. Raises InputError for a broken or cut archive."""
    head = b""
    unpacker: _Unpacker | None = None
    async for block in blocks:
        if unpacker is None and len(head) < len(_ZSTD):
            head += block
            if len(head) < len(_ZSTD):
                continue
            unpacker = _unpacker(head)
            block = head  # noqa: PLW2901
        if unpacker is None:
            yield block
            continue
        try:
            for plain in unpacker.feed(block):
                yield plain
        except _broken() as error:
            raise InputError(f"{name} is not a sound archive: {error}.") from None
    if 0 < len(head) < len(_ZSTD):
        yield head
    if unpacker is not None and not unpacker.whole:
        raise InputError(f"{name} ends in the middle of its compressed data; upload it again.")


def _unpacker(head: bytes) -> _Unpacker | None:
    if head.startswith(_GZIP):
        return _Gzip()
    return _Zstd() if head.startswith(_ZSTD) else None


def _broken() -> tuple[type[Exception], ...]:
    from zstandard import ZstdError

    return (zlib.error, ZstdError)


class _Gzip:
    """gzip, also of several members one after the other."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self.whole = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        while block:
            if self._member.eof:
                block = block.lstrip(b"\0")  # tar and dd pad with zeros
                if not block:
                    return
                self._member = zlib.decompressobj(wbits=31)
            plain = self._member.decompress(block, _MOST_BYTES)
            block = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self.whole = self._member.eof
            if plain:
                yield plain


class _Zstd:
    """zstd, also of several frames one after the other."""

    def __init__(self) -> None:
        from zstandard import ZstdDecompressor

        self._new = ZstdDecompressor(max_window_size=2**27).decompressobj
        self._frame = self._new()
        self.whole = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        for at in range(0, len(block), _PIECE_BYTES):
            piece = block[at : at + _PIECE_BYTES]
            while piece:
                if self._frame.eof:
                    self._frame = self._new()
                plain = self._frame.decompress(piece)
                piece = self._frame.unused_data if self._frame.eof else b""
                self.whole = self._frame.eof
                for start in range(0, len(plain), _MOST_BYTES):
                    yield plain[start : start + _MOST_BYTES]
