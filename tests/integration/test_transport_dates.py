"""A wait told as a date, by a server that does not tell the time."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from bucketline.catalog import Catalog
from bucketline.settings import Settings
from worker.providers.base import Call, Reply
from worker.providers.delays import retry_after_s
from worker.transport import Transport


@pytest.mark.parametrize("own_date", [True, False])
async def test_a_date_to_wait_for_is_understood_with_and_without_the_servers_own(own_date: bool) -> None:
    """Small servers and proxies leave Date out; the wait must not be thrown away for that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        now_s = time.time()
        lines = ["HTTP/1.1 429 Too Many Requests", f"Retry-After: {formatdate(now_s + 40, usegmt=True)}"]
        lines += [f"Date: {formatdate(now_s, usegmt=True)}"] if own_date else []
        writer.write("\r\n".join([*lines, "Content-Length: 2", "", "{}"]).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        provider = Catalog(Settings.model_validate({"providers": {"alpha": {"base_url": address}}})).provider("alpha")
        transport = Transport()
        try:
            reply = await transport.send(Call(url=address, headers={}, body=b""), provider, 5.0)
        finally:
            await transport.close()
    assert isinstance(reply, Reply)
    waiting_s = retry_after_s(reply.headers, {}, "")
    assert waiting_s is not None
    assert 30 <= waiting_s <= 41
