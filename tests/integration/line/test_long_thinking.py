"""Half an hour of thinking, behind a proxy that cuts whatever is silent for a minute: the true figures, real sockets.

The loop's clock jumps over the silence (``skipping``), so the seconds here are those of the product's own clocks. What
keeps the connection alive is that a streamed model talks while it thinks; what ends one that died is a clock for
silence, apart from the one for the whole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bucketline.failure import Billed, Failure, Kind
from bucketline.request import Form
from bucketline.settings import RetrySettings
from tests.integration.line.skipping import run_skipping
from tests.integration.line.test_transport import a_server, read_request
from tests.samples import line, route
from worker.providers import Answer, Call, Reply, adapter_for
from worker.transport import Transport

MINUTE_S = 60.0
THINKS_S, EVERY_S = 30 * MINUTE_S, 5.0
THOUGHTS = int(THINKS_S / EVERY_S)
LINE = {"model": "kimi-k2-thinking", "messages": [{"role": "user", "content": "Is it so?"}]}
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "kimi-k2-thinking"}
    return b"data: " + json.dumps({**chunk, "choices": [choice], **more}).encode() + b"\n\n"


def kimi(*, every_s: float = EVERY_S, thoughts: int = THOUGHTS) -> Handler:
    """Thinks for as long as ever; says what it thinks to those who asked for a stream, and nothing to others."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await read_request(reader))
        usage = {"prompt_tokens": 4, "completion_tokens": 2 * thoughts + 1, "total_tokens": 2 * thoughts + 5}
        if not asked.get("stream"):
            await asyncio.sleep(every_s * thoughts)
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for number in range(thoughts):
            writer.write(event({"reasoning_content": f"thought {number}. "}))
            await writer.drain()
            await asyncio.sleep(every_s)
        writer.write(event({"content": "Yes."}) + event({}, "stop", usage=usage) + b"data: [DONE]\n\n")
        await writer.drain()

    return serve


@asynccontextmanager
async def impatient_proxy(upstream: str) -> AsyncIterator[str]:
    """Passes bytes on, and closes both sides when neither has said anything for a minute."""
    host, port = upstream.removeprefix("http://").partition("/")[0].split(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                idle.reschedule(asyncio.get_running_loop().time() + MINUTE_S)
                sink.write(data)
                await sink.drain()

        sending = None
        try:
            async with asyncio.timeout(MINUTE_S) as idle:
                sending = asyncio.create_task(pump(reader, up_writer))
                await pump(up_reader, writer)
        except TimeoutError:
            writer.transport.abort()
        finally:
            up_writer.transport.abort()
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async with a_server(serve) as url:
        yield url.removesuffix("/v1")


async def ask(model: Handler, *, stream: str, proxied: bool) -> tuple[Answer | Failure, float]:
    """The line's end as the product's own clocks have it, and how long that took."""
    transport = Transport()
    async with a_server(model) as url, impatient_proxy(url) as proxy:
        way = route(
            "openai",
            "kimi-k2-thinking",
            base_url=url,
            preset="moonshot",
            stream=stream,
            proxy=proxy if proxied else None,
        )
        request, adapter = line(Form.CHAT, LINE), adapter_for("openai")
        call = adapter.call(request, way, "k")
        assert isinstance(call, Call)
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        reply = await transport.send(call, way.provider, RetrySettings().call_s(stream=call.stream))
        took_s = now_s() - began_s
        await transport.close()
    return (adapter.read(reply, request, way) if isinstance(reply, Reply) else reply), took_s


def test_half_an_hour_of_thinking_comes_through_a_proxy_that_cuts_after_a_minute() -> None:
    answer, took_s = run_skipping(ask(kimi(), stream="auto", proxied=True))
    assert isinstance(answer, Answer), answer
    assert took_s == pytest.approx(THINKS_S, rel=0.05)
    message = json.loads(answer.body)["choices"][0]["message"]
    assert message["content"] == "Yes."
    assert message["reasoning_content"] == "".join(f"thought {number}. " for number in range(THOUGHTS))
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2 * THOUGHTS + 1


def test_without_a_stream_the_same_call_is_cut_after_a_minute_and_may_have_been_billed() -> None:
    """The reason why ``auto`` streams; and the failure does not pretend that nothing was paid."""
    failure, took_s = run_skipping(ask(kimi(), stream="never", proxied=True))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.row.billed) == (Kind.CONNECTION_LOST, Billed.MAYBE)
    assert took_s == pytest.approx(MINUTE_S, abs=5)


def test_a_stream_that_speaks_seldom_goes_on_and_one_that_died_is_let_go_long_before_the_whole_is_over() -> None:
    """The clock for silence runs anew with each byte; the one for the whole is the hour of a stream."""
    slow, took_s = run_skipping(ask(kimi(every_s=110, thoughts=16), stream="auto", proxied=False))
    assert isinstance(slow, Answer), slow
    assert took_s == pytest.approx(16 * 110, rel=0.05)
    dead, took_s = run_skipping(ask(kimi(every_s=1000, thoughts=3), stream="auto", proxied=False))
    assert isinstance(dead, Failure)
    assert (dead.kind, dead.row.billed) == (Kind.TIMEOUT_AFTER_SEND, Billed.MAYBE)
    assert took_s == pytest.approx(120, abs=5)


def test_a_stream_that_never_comes_to_an_end_is_ended_by_the_clock_of_the_whole() -> None:
    endless, took_s = run_skipping(ask(kimi(every_s=30, thoughts=1000), stream="auto", proxied=True))
    assert isinstance(endless, Failure)
    assert endless.kind is Kind.TIMEOUT_AFTER_SEND
    assert took_s == pytest.approx(3600, abs=30)
