"""A few threads of a store's own, so that what blocks never blocks the event loop nor the loop's shared threads.

Comes in: a blocking call. Goes out: its result, awaited. ``read_ahead`` turns "fetch the next block" into a stream
that has one block ready. Used by ``folder`` and ``s3``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Threads", "read_ahead"]

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A small pool; a thread starts when it is first needed. More threads than a few gain nothing under the GIL."""

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result. Cancelled, it is not begun; once begun it runs on, and its result is dropped."""
        return await asyncio.wrap_future(self._pool.submit(call, *args, **kwargs))

    async def finish(self, call: Callable[[], object]) -> None:
        """Do it even when the caller is cancelled: what must not be left lying."""
        await asyncio.shield(asyncio.wrap_future(self._pool.submit(call)))

    def forget(self, call: Callable[[], object]) -> None:
        """Do it in a thread and wait for nothing: closing what another thread may still be reading."""
        try:
            self._pool.submit(call)
        except RuntimeError:  # the pool is closed already
            call()

    async def close(self) -> None:
        """Wait for what runs, drop what has not begun."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)


async def read_ahead(fetch: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    """Blocks until an empty one; the next is fetched while the reader works on this one."""
    task = asyncio.ensure_future(fetch())
    try:
        while block := await task:
            task = asyncio.ensure_future(fetch())
            yield block
    finally:
        task.cancel()
        if task.done() and not task.cancelled():
            task.exception()  # the reader has left; nobody else will look
