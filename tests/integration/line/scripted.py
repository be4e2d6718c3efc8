"""Scripted providers on real sockets: each answers what the test says, and notes what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

__all__ = ["Provider", "Reply", "answer", "error", "hang", "providers"]

Reply = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass
class Provider:
    """One provider: its replies in order, the last one for ever, and every call it got."""

    name: str
    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.calls.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        reply = self.replies[min(len(self.calls), len(self.replies)) - 1]
        return await reply(body)


def answer(text: str = "hi", *, finish: str = "stop", delay_s: float = 0.0, reasoning: int = 0) -> Reply:
    """A chat completion of 100 input and 10 output tokens, reasoning beside them."""

    async def reply(body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(delay_s)
        usage = {"prompt_tokens": 100, "completion_tokens": 10 + reasoning, "total_tokens": 110 + reasoning}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        document = {"id": "c", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}
        if reasoning:
            usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}  # type: ignore[assignment]
        return web.json_response(document)

    return reply


def error(status: int, code: str, message: str = "no", **headers: str) -> Reply:
    """A refusal in OpenAI's shape."""

    async def reply(_body: dict[str, Any]) -> web.StreamResponse:
        document = {"error": {"message": message, "type": code, "code": code, "param": None}}
        return web.json_response(document, status=status, headers=headers)

    return reply


def hang() -> Reply:
    async def reply(_body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    return reply


@contextlib.asynccontextmanager
async def providers(*names: str) -> AsyncIterator[dict[str, Provider]]:
    """So many providers, each on its own port."""
    found = {name: Provider(name) for name in names}
    runners = []
    try:
        for provider in found.values():
            app = web.Application()
            app.router.add_post("/v1/chat/completions", provider.handle)
            runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield found
    finally:
        for runner in runners:
            await runner.cleanup()
