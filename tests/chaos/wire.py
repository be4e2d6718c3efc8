"""A TCP wire that can be cut, silenced and taken away: between a worker and its Redis.

Comes in: a free loopback port and where it leads. Goes out: bytes, both ways, as long as the wire is whole. Used by the storms;
it understands nothing of what passes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

__all__ = ["Wire"]

_BLOCK = 1 << 16


class Wire:
    """``async with`` it; ``address`` is ``host:port``."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.StreamWriter] = set()
        self._whole = asyncio.Event()
        self._whole.set()
        self._refusing = False
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        """Break every connection off, with a reset; new ones may be made."""
        for writer in list(self._pairs):
            writer.transport.abort()

    async def away(self, seconds: float) -> None:
        """Nobody is there: connections break and new ones are broken at once."""
        self._refusing = True
        self.cut()
        await asyncio.sleep(seconds)
        self._refusing = False

    async def silent(self, seconds: float) -> None:
        """Nothing passes and nobody is told: what is sent meanwhile arrives afterwards."""
        self._whole.clear()
        await asyncio.sleep(seconds)
        self._whole.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._pairs |= ends
        ways = [asyncio.create_task(self._way(reader, far_writer)), asyncio.create_task(self._way(far_reader, writer))]
        with contextlib.suppress(asyncio.CancelledError):  # the loop ends: so do the connections
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self._pairs -= ends
        for end in ends:
            end.transport.abort()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK):
                await self._whole.wait()
                writer.write(block)
                await writer.drain()
