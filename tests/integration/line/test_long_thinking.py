"""Half an hour of thinking, behind a proxy that cuts whatever is silent for a minute; sped up more than a thousandfold.

Model and proxy share a clock of ticks, 18 s each: the model thinks for a hundred, the proxy cuts after more than three
without a byte. So a slow machine slows both alike. The proxy is real, and so are the sockets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bucketline.failure import Failure, Kind
from bucketline.request import Form
from tests.integration.line.test_transport import a_server, read_request
from tests.samples import line, route
from worker.providers import Answer, Call, Reply, adapter_for
from worker.transport import Transport

THOUGHTS, SILENT_TICKS = 100, 3
TICK_S = 0.01
WALL_S = 120.0
LINE = {"model": "kimi-k2-thinking", "messages": [{"role": "user", "content": "Is it so?"}]}


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "kimi-k2-thinking"}
    return b"data: " + json.dumps({**chunk, "choices": [choice], **more}).encode() + b"\n\n"


class Clock:
    """Ticks gone by."""

    def __init__(self) -> None:
        self.now = 0

    async def tick(self) -> None:
        await asyncio.sleep(TICK_S)
        self.now += 1


CLOCK = Clock()


async def kimi(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Thinks for as long as ever; says what it thinks to those who asked for a stream, and nothing to others."""
    asked = json.loads(await read_request(reader))
    usage = {"prompt_tokens": 4, "completion_tokens": 2 * THOUGHTS + 1, "total_tokens": 2 * THOUGHTS + 5}
    if not asked.get("stream"):
        for _ in range(THOUGHTS):
            await CLOCK.tick()
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for number in range(THOUGHTS):
        writer.write(event({"reasoning_content": f"thought {number}. "}))
        await writer.drain()
        await CLOCK.tick()
    writer.write(event({"content": "Yes."}) + event({}, "stop", usage=usage) + b"data: [DONE]\n\n")
    await writer.drain()


@asynccontextmanager
async def impatient_proxy(upstream: str) -> AsyncIterator[str]:
    """Passes bytes on, and closes both sides when neither has said anything for ``SILENT_TICKS``."""
    host, port = upstream.removeprefix("http://").partition("/")[0].split(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        heard = CLOCK.now

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            nonlocal heard
            while data := await source.read(65536):
                heard = CLOCK.now
                sink.write(data)
                await sink.drain()

        pumps = [asyncio.create_task(pump(reader, up_writer)), asyncio.create_task(pump(up_reader, writer))]
        try:
            while not pumps[1].done():
                if CLOCK.now - heard > SILENT_TICKS:
                    writer.transport.abort()
                    return
                await asyncio.wait(pumps[1:], timeout=TICK_S / 2)
        finally:
            up_writer.transport.abort()
            for each in pumps:
                each.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async with a_server(serve) as url:
        yield url.removesuffix("/v1")


async def ask(stream: str) -> Answer | Failure:
    transport = Transport()
    async with a_server(kimi) as url, impatient_proxy(url) as proxy:
        way = route("openai", "kimi-k2-thinking", base_url=url, preset="moonshot", stream=stream, proxy=proxy)
        request, adapter = line(Form.CHAT, LINE), adapter_for("openai")
        call = adapter.call(request, way, "k")
        assert isinstance(call, Call)
        reply = await transport.send(call, way.provider, WALL_S)
        await transport.close()
    return adapter.read(reply, request, way) if isinstance(reply, Reply) else reply


@pytest.mark.slow
async def test_half_an_hour_of_thinking_comes_through_a_proxy_that_cuts_after_a_minute() -> None:
    answer = await ask("auto")
    assert isinstance(answer, Answer), answer
    message = json.loads(answer.body)["choices"][0]["message"]
    assert message["content"] == "Yes."
    assert message["reasoning_content"] == "".join(f"thought {number}. " for number in range(THOUGHTS))
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2 * THOUGHTS + 1


async def test_without_a_stream_the_same_call_is_cut_and_may_have_been_billed() -> None:
    """The reason why ``auto`` streams; and the failure does not pretend that nothing was paid."""
    failure = await ask("never")
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.CONNECTION_LOST
