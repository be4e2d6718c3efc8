"""No peer, however broken, holds a call beyond its time; and each way to break says what it may have cost."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bucketline.catalog import Limits, Provider
from bucketline.failure import Billed, Failure, Kind
from worker import transport as module
from worker.providers.base import Call, Reply
from worker.transport import Clocks, Transport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WALL_S = 0.4
PROVIDER = Provider("alpha", "openai", "http://127.0.0.1", None, None, "alpha", Limits(), {}, {}, "alpha", "auto")


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(Clocks(connect_s=WALL_S, idle_s=0.05))
    yield transport
    await transport.close()


@contextlib.asynccontextmanager
async def a_server(handler: Handler) -> AsyncIterator[str]:
    """A socket that does what the test says, and the tasks that serve it ended with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return await reader.readexactly(length)


async def send(transport: Transport, url: str, body: bytes = b"{}", *, stream: bool = False) -> Reply | Failure:
    began = time.monotonic()
    result = await transport.send(Call(url, {}, body, stream=stream), PROVIDER, WALL_S)
    assert time.monotonic() - began < 10 * WALL_S, "the wall did not stand"
    return result


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.Event().wait()


async def deaf(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Reads nothing: a large body fills every buffer on the way and stalls."""
    await asyncio.Event().wait()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Always says a little more, so that a timer on reads alone never goes off."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"8\r\ndata: \n\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("handler", [silent, deaf, dripping, endless_head, endless_stream])
async def test_nothing_outlives_the_wall(transport: Transport, handler: Handler) -> None:
    async with a_server(handler) as url:
        result = await send(transport, url, b"{" + b" " * (32 << 20) + b"}" if handler is deaf else b"{}")
    assert isinstance(result, Failure)
    assert result.kind in (Kind.TIMEOUT_AFTER_SEND, Kind.NOT_JSON)
    assert result.row.billed is Billed.MAYBE


async def test_a_stream_that_falls_silent_ends_before_its_wall(transport: Transport) -> None:

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: \n\n\r\n")
        await asyncio.Event().wait()

    async with a_server(dies) as url:
        began = time.monotonic()
        result = await transport.send(Call(url, {}, b"{}", stream=True), PROVIDER, 60.0)
    assert isinstance(result, Failure)
    assert result.kind is Kind.TIMEOUT_AFTER_SEND
    assert time.monotonic() - began < 10


async def test_an_answer_larger_than_any_answer_is_let_go(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is small on the wire: what counts is what it unpacks to."""
    monkeypatch.setattr(module, "_MOST_BYTES", 100_000)
    bomb = gzip.compress(b" " * 10_000_000)

    async def bombs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
        await asyncio.Event().wait()

    async with a_server(bombs) as url:
        result = await send(transport, url)
    assert isinstance(result, Failure)
    assert result.kind is Kind.CUT_BODY


async def test_a_connection_that_breaks_off_is_never_tried_again_in_secret(transport: Transport) -> None:
    """The provider may have read the call, and billed it: a second one must stand in the line's log."""
    calls = 0

    async def answers_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        await read_request(reader)
        calls += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        await read_request(reader)
        calls += 1

    async with a_server(answers_once) as url:
        first = await send(transport, url)
        second = await send(transport, url)
    assert isinstance(first, Reply)
    assert isinstance(second, Failure)
    assert (second.kind, second.row.billed) == (Kind.CONNECTION_LOST, Billed.MAYBE)
    assert calls == 2


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used(transport: Transport) -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with a_server(closes) as url:
        for _ in range(5):
            assert isinstance(await send(transport, url), Reply)
            await asyncio.sleep(0.01)


async def test_answers_framed_in_every_way_follow_each_other_on_one_connection(transport: Transport) -> None:
    """One parser reads them all: what one answer left in it must not reach the next."""
    packed = gzip.compress(b"packed")
    framed = {
        b"plain": b"Content-Length: 5\r\n\r\nplain",
        b"chunks": b"Transfer-Encoding: chunked\r\n\r\n3\r\nchu\r\n3\r\nnks\r\n0\r\n\r\n",
        b"packed": b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
        b"": b"Content-Length: 0\r\n\r\n",
    }
    connections = 0

    async def answers_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            wanted = await read_request(reader)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" if wanted == b"chunks" else b"")
            head, body = framed[wanted].split(b"\r\n\r\n", 1)
            writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            await writer.drain()
            writer.write(body)

    async with a_server(answers_all) as url:
        for wanted in [*framed, *reversed(framed)]:
            reply = await send(transport, url, wanted)
            assert isinstance(reply, Reply)
            assert (reply.status, reply.body) == (200, wanted)
    assert connections == 1


async def test_what_never_left_costs_nothing(transport: Transport) -> None:
    async with a_server(silent) as url:
        pass
    refused = await send(transport, url)
    unknown = await send(transport, "http://no-such-host.invalid/v1")
    assert isinstance(refused, Failure)
    assert isinstance(unknown, Failure)
    assert (refused.kind, unknown.kind) == (Kind.CONNECTION_REFUSED, Kind.DNS)
    assert refused.row.billed is unknown.row.billed is Billed.NO


async def test_a_body_cut_in_the_middle_may_have_been_billed(transport: Transport) -> None:
    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":')
        await writer.drain()

    async with a_server(cuts) as url:
        result = await send(transport, url)
    assert isinstance(result, Failure)
    assert (result.kind, result.row.billed) == (Kind.CUT_BODY, Billed.MAYBE)
