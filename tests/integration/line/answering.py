"""A provider that answers as a test says, and remembers every call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ["Answering", "Told", "answering"]


@dataclass(frozen=True)
class Told:
    """One call as it arrived; ``headers`` by lower-case names."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answering:
    """The running server."""

    url: str = ""
    calls: list[Told] = field(default_factory=list)


Reply = tuple[int, Mapping[str, str], Any]


@asynccontextmanager
async def answering(answer: Callable[[Told], Reply]) -> AsyncIterator[Answering]:
    """``answer`` gives status, headers and a JSON document for each call; status 0 breaks off without an answer."""
    served = Answering()

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Told(request.path, headers, await request.read())
        served.calls.append(call)
        status, extra, document = answer(call)
        if status == 0 and request.transport is not None:
            request.transport.abort()
        return web.Response(
            status=status or 500,
            headers=dict(extra),
            body=json.dumps(document).encode(),
            content_type="application/json",
        )

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        yield served
    finally:
        await runner.cleanup()
