"""The sync face: an async method of ``Producer``, callable from ordinary code.

Comes in: a method. Goes out: a function that opens a producer, runs the method to its end, and closes it; inside a
running loop it does so in a thread of its own. There is one bridge, so the two faces cannot drift apart.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from producer.client import Producer

__all__ = ["synchronous"]

P = ParamSpec("P")
T = TypeVar("T")


def synchronous(
    method: Callable[Concatenate[Producer, P], Awaitable[T]], config: str | os.PathLike[str] | None = None
) -> Callable[P, T]:
    """The method as a function of the same arguments, on a producer of the usual configuration."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        async def once() -> T:
            async with Producer(config) as producer:
                return await method(producer, *args, **kwargs)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(once())
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, once()).result()

    return call
