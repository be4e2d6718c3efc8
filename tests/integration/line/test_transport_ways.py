"""Through HTTP proxies, to servers of a private CA, with answers packed in every way that we offer to unpack."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import brotli
import pytest
import zstandard

from bucketline.catalog import Provider
from bucketline.failure import Billed, Failure, Kind
from tests.integration.line.certificates import private_ca
from tests.integration.line.test_transport import PROVIDER, a_server, read_request
from tests.samples import chat_line, route
from worker.providers import adapter_for
from worker.providers.base import ACCEPT_ENCODING, Call, Reply
from worker.transport import Clocks, Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
WALL_S = 10.0


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(Clocks(connect_s=5.0))
    yield transport
    await transport.close()


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(OK)
    await writer.drain()


@asynccontextmanager
async def a_tls_server(context: ssl.SSLContext) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await answers(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"https://127.0.0.1:{port}/v1"
    finally:
        server.close()


@asynccontextmanager
async def a_proxy(*, refuses: int | None = None) -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that tunnels what is TLS and asks for the rest itself; what each call asked of it, word for word."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        if refuses is not None:
            writer.write(f"HTTP/1.1 {refuses} No\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        method, target, _ = head.split(" ", 2)
        host, port = (target if method == "CONNECT" else target.split("/")[2]).split(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            up_writer.write(head.replace(f"http://{host}:{port}", "", 1).encode())

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()

        sending = asyncio.create_task(pump(reader, up_writer))
        try:
            await pump(up_reader, writer)
        finally:
            up_writer.transport.abort()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async with a_server(serve) as url:
        yield url.removesuffix("/v1"), asked


async def send(
    transport: Transport, url: str, provider: Provider, *, stream: bool = False, **headers: str
) -> Reply | Failure:
    return await transport.send(Call(url, headers, b"{}", stream=stream), provider, WALL_S)


async def test_a_call_goes_through_the_proxy_of_its_provider_and_no_other(transport: Transport) -> None:
    async with a_server(answers) as url, a_proxy() as (proxy, asked):
        direct = await send(transport, url, PROVIDER)
        through = await send(transport, url, replace(PROVIDER, proxy=proxy))
    assert isinstance(direct, Reply)
    assert isinstance(through, Reply)
    assert [head.split("\r\n")[0] for head in asked] == [f"POST {url} HTTP/1.1"]


async def test_the_machines_proxy_variables_are_not_followed(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key must not go through a proxy that nobody named for it."""
    async with a_server(answers) as url, a_proxy() as (proxy, asked):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        assert isinstance(await send(transport, url, PROVIDER), Reply)
    assert asked == []


async def test_a_tunnel_shows_the_proxy_neither_key_nor_prompt_and_ends_at_the_private_ca(
    transport: Transport, tmp_path: Path
) -> None:
    ca_file, context = private_ca(tmp_path)
    async with a_tls_server(context) as url, a_proxy() as (proxy, asked):
        named = proxy.replace("//", "//me:word@")
        provider = replace(PROVIDER, proxy=named, ca_file=str(ca_file))
        reply = await send(transport, url, provider, authorization="Bearer a-key")
    assert isinstance(reply, Reply)
    [head] = asked
    assert head.startswith("CONNECT 127.0.0.1:")
    assert "a-key" not in head
    assert "Proxy-Authorization: Basic bWU6d29yZA==" in head


@pytest.mark.parametrize("refuses", [407, 403, 502])
async def test_a_tunnel_that_the_proxy_refuses_costs_nothing(
    transport: Transport, tmp_path: Path, refuses: int
) -> None:
    _, context = private_ca(tmp_path)
    async with a_tls_server(context) as url, a_proxy(refuses=refuses) as (proxy, _):
        failure = await send(transport, url, replace(PROVIDER, proxy=proxy))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.row.billed) == (Kind.CONNECTION_REFUSED, Billed.NO)


async def test_a_proxy_that_is_not_there_costs_nothing(transport: Transport) -> None:
    async with a_server(answers) as nowhere:
        pass
    failure = await send(transport, "http://127.0.0.1:9/v1", replace(PROVIDER, proxy=nowhere.removesuffix("/v1")))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.row.billed) == (Kind.CONNECTION_REFUSED, Billed.NO)


async def test_a_certificate_that_nobody_known_signed_is_refused_before_anything_leaves(
    transport: Transport, tmp_path: Path
) -> None:
    ca_file, context = private_ca(tmp_path)
    async with a_tls_server(context) as url:
        stranger = await send(transport, url, PROVIDER)
        known = await send(transport, url, replace(PROVIDER, ca_file=str(ca_file)))
        missing = await send(transport, url, replace(PROVIDER, ca_file=str(tmp_path / "none.pem")))
    assert isinstance(stranger, Failure)
    assert (stranger.kind, stranger.row.billed) == (Kind.TLS, Billed.NO)
    assert isinstance(known, Reply)
    assert isinstance(missing, Failure)
    assert missing.kind is Kind.TLS
    assert "none.pem" in missing.message


PACKERS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("encoding", PACKERS)
async def test_an_answer_packed_in_any_way_that_we_offer_is_unpacked(
    transport: Transport, encoding: str, stream: bool
) -> None:
    """Plain calls and streams go two ways through the client; both unpack."""
    body = b'{"a": "' + b"word " * 50_000 + b'"}'
    packed = PACKERS[encoding](body)
    assert encoding in ACCEPT_ENCODING.split(", ")

    async def packs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(packed), 100):
            piece = packed[at : at + 100]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async with a_server(packs) as url:
        reply = await send(transport, url, PROVIDER, stream=stream)
    assert isinstance(reply, Reply)
    assert reply.body == body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("encoding", PACKERS)
async def test_a_packed_answer_that_is_cut_or_bitten_is_no_answer(
    transport: Transport, encoding: str, stream: bool
) -> None:
    packed = PACKERS[encoding](b'{"a": "' + bytes(range(32, 127)) * 400 + b'"}')

    async def bites(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        half = packed[: len(packed) // 2] + b"\xff" * 40
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(half)}\r\n\r\n"
        writer.write(head.encode() + half)
        await writer.drain()

    async with a_server(bites) as url:
        result = await send(transport, url, PROVIDER, stream=stream)
    if isinstance(result, Reply):  # what could be unpacked of it; then the reader is who sees that it is no answer
        result = adapter_for("openai").read(result, chat_line(), route())
    assert isinstance(result, Failure)
    assert result.row.billed is Billed.MAYBE
    assert result.row.retry
