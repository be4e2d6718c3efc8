"""Each part of a call has its own clock, and which one ran out says whether the call can have cost anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bucketline.failure import Billed, Failure, Kind
from bucketline.settings import RetrySettings
from tests.integration.line.test_transport import PROVIDER, a_server, deaf, read_request, silent
from worker.providers.base import Call, Reply
from worker.transport import Clocks, Transport

LARGE = b" " * (32 << 20)
LONG_S = 60.0


@pytest.fixture
async def quick() -> AsyncIterator[Transport]:
    transport = Transport(Clocks(connect_s=0.3, upload_s=0.3, first_byte_s=0.3, idle_s=0.3))
    yield transport
    await transport.close()


async def fails(transport: Transport, url: str, body: bytes, *, stream: bool) -> Failure:
    began = time.monotonic()
    result = await transport.send(Call(url, {}, body, stream=stream), PROVIDER, LONG_S)
    assert time.monotonic() - began < LONG_S / 4, "only the whole call's clock ran"
    assert isinstance(result, Failure)
    return result


async def test_a_body_that_does_not_leave_costs_nothing(quick: Transport) -> None:
    async with a_server(deaf) as url:
        failure = await fails(quick, url, LARGE, stream=False)
    assert (failure.kind, failure.row.billed) == (Kind.TIMEOUT_BEFORE_SEND, Billed.NO)
    assert "could not be sent" in failure.message


async def test_a_slow_upload_that_goes_on_is_let_go_on(quick: Transport) -> None:
    """Its clock is for standing still: a large body over a slow line is no fault."""

    async def reads_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = len(LARGE)
        while left > 0:
            left -= len(await reader.read(1 << 20))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # longer than the upload's clock, which must not run any more
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with a_server(reads_slowly) as url:
        result = await quick.send(Call(url, {}, LARGE), PROVIDER, LONG_S)
    assert isinstance(result, Reply)


@pytest.mark.parametrize("body", [b"{}", b" " * (2 << 20)])
async def test_a_stream_that_does_not_begin_may_have_been_billed(quick: Transport, body: bytes) -> None:
    async with a_server(silent) as url:
        failure = await fails(quick, url, body, stream=True)
    assert (failure.kind, failure.row.billed) == (Kind.TIMEOUT_AFTER_SEND, Billed.MAYBE)


async def test_a_tls_handshake_that_hangs_is_a_connection_that_was_never_made(quick: Transport) -> None:
    """Not only the socket: until TLS stands, nothing of the request can have left."""
    async with a_server(deaf) as url:
        failure = await fails(quick, url.replace("http:", "https:"), b"{}", stream=False)
    assert (failure.kind, failure.row.billed) == (Kind.TIMEOUT_BEFORE_SEND, Billed.NO)


async def test_an_answer_that_is_no_stream_may_stay_silent_for_its_whole_life(quick: Transport) -> None:
    """Without a stream the first byte comes with the last: only the whole call's clock says anything."""

    async def thinks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.6)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
        await asyncio.sleep(0.6)
        writer.write(b"}")
        await writer.drain()

    async with a_server(thinks) as url:
        assert isinstance(await quick.send(Call(url, {}, b"{}"), PROVIDER, LONG_S), Reply)


def test_what_is_set_for_calls_holds_for_streams_too() -> None:
    """Only where nothing was set does a stream get its hour: a model that thinks for long talks all the while."""
    assert RetrySettings().call_s(stream=True) == 3600.0
    assert RetrySettings(request_timeout_s=5).call_s(stream=True) == 5
    assert RetrySettings(request_timeout_s=5, stream_timeout_s=9).call_s(stream=True) == 9
    assert RetrySettings(request_timeout_s=5).longest_call_s == 5
