"""HTTP/1.1 by hand, because faults need the socket: read a request, send a reply, cut it, or say nothing.

Comes in: a stream's two ends and one reply of a script. Goes out: the bytes, and what the connection is good for
afterwards. Called by ``scripted`` for each request; knows no scripts and keeps no books.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

__all__ = ["ClientGone", "Fate", "Received", "plain_body", "read_request", "send_fault", "send_reply", "wait_or_gone"]

_SILENT_S = 0.05  #: how long a connection that will close in silence still looks usable


class ClientGone(Exception):
    """The other side has closed the connection."""


class Fate(Enum):
    """What becomes of the connection after a reply."""

    KEEP = "keep"
    CLOSE = "close"
    SILENT = "silent"  #: promised to stay, then closed


@dataclass(frozen=True, slots=True)
class Received:
    """One request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    """The next request of a connection, or None when there is none. Raises ValueError when it is not HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await _read_body(reader, headers)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Received(method, target.split("?", 1)[0], headers, body)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    parts = []
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        parts.append(await reader.readexactly(size))
        await reader.readline()
        if size == 0:
            return b"".join(parts)


async def wait_or_gone(reader: asyncio.StreamReader, delay_s: float | None) -> None:
    """Wait, for ever where ``delay_s`` is None. Raises ClientGone as soon as the client hangs up."""
    if delay_s == 0:
        return
    gone = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({gone}, timeout=delay_s)
        if gone.done():
            raise ClientGone  # nobody pipelines, so a byte is as odd as an end
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await gone


async def send_reply(
    writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str], body: bytes, fate: Fate = Fate.KEEP
) -> None:
    """One whole reply. Raises ClientGone when the client did not wait for it."""
    sent = {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
    sent["Connection"] = "close" if fate is Fate.CLOSE else "keep-alive"
    await _write(writer, _head(status, sent) + body)
    if fate is Fate.SILENT:
        await asyncio.sleep(_SILENT_S)


async def send_fault(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str, reply: Mapping[str, Any], body: bytes
) -> None:
    """Do what the fault says with ``body``, the reply that would have been right; the caller closes afterwards."""
    after_bytes = min(int(reply.get("after_bytes", len(body) // 2)), len(body))
    match kind:
        case "close_before_reply":
            return
        case "close_mid_body":
            headers = {"Content-Type": "application/json", "Content-Length": str(max(len(body), after_bytes + 1))}
            await _write(writer, _head(200, headers) + body[:after_bytes])
        case "truncate_chunked":
            headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            part = body[:after_bytes]
            chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
            await _write(writer, _head(200, headers) + chunk)
        case "hang":
            with suppress(ClientGone):
                await wait_or_gone(reader, None)
        case _:
            raise ValueError(f"unknown fault {kind!r}")


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    try:
        writer.write(data)
        await writer.drain()
    except ConnectionError:
        raise ClientGone from None
    if writer.transport.is_closing():
        raise ClientGone


def plain_body(reply: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """The body of a reply that stands as it is, and its headers."""
    headers = {str(name): str(value) for name, value in (reply.get("headers") or {}).items()}
    if "json" in reply:
        return json.dumps(reply["json"]).encode(), headers
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "text/plain; charset=utf-8"
    return str(reply.get("text", "")).encode("utf-8", "surrogatepass"), headers
