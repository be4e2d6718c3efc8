"""One plain exchange over a pooled connection, for the many calls that need nothing more.

Comes in: a ``Call`` whose body fits into one write and whose answer comes in one piece, and the connector. Goes out: the
reply. aiohttp connects, keeps connections, speaks TLS and parses; what is left out are its request and response
objects, which cost as much again as all of that. They do for proxies, large bodies and streams, in ``transport``, the
only caller. Faults are raised as the client's own. Uses ``Connector.connect`` and the response protocol as the client
itself does; the bounds on aiohttp's version are for this file.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import SERVER_SOFTWARE, HttpProcessingError
from yarl import URL

from worker.providers.base import Call, Reply

__all__ = ["Direct", "is_plain"]

_MOST_TARGETS = 1024  #: addresses remembered; a model's name may be part of one
_DEFAULTS = {"accept": "Accept: */*\r\n", "user-agent": f"User-Agent: {SERVER_SOFTWARE}\r\n"}


@dataclass(frozen=True, slots=True)
class _Target:
    """One address: its request line, and the request that names its peer to the connector."""

    head: str
    request: aiohttp.ClientRequest


class Direct:
    """The plain exchanges of one session."""

    def __init__(self, connector: aiohttp.BaseConnector, connect_s: float, most_bytes: int, head_bytes: int) -> None:
        """``most_bytes`` bounds an answer, ``head_bytes`` a line of its head."""
        self._connector = connector
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s)
        self._most_bytes, self._head_bytes = most_bytes, head_bytes
        self._targets: dict[str, _Target] = {}

    async def exchange(self, call: Call) -> Reply:
        """Send a call and read its answer, decompressed.

        Raises aiohttp's ClientError, OSError, and ValueError for a header that cannot be one.
        """
        target = self._targets.get(call.url) or self._target(call.url)
        written = _written(target.head, call)
        try:
            connection = await self._connector.connect(target.request, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            if protocol._parser is None:  # noqa: SLF001  # one parser reads every answer of a connection
                self._prepare(protocol)
            transport.write(written)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:  # a word in between; the answer comes after it
                message, content = await protocol.read()
            body = await content.readany()
            if not content.at_eof():
                body = await self._rest(body, content)
        except BaseException as error:
            connection.close()
            if isinstance(error, HttpProcessingError):
                raise aiohttp.ClientResponseError(target.request.request_info, ()) from error
            raise
        connection.release()
        return Reply(message.code, message.headers, body)

    def _prepare(self, protocol: ResponseHandler) -> None:
        protocol.set_response_params(
            read_until_eof=True, max_line_size=self._head_bytes, max_field_size=self._head_bytes
        )

    async def _rest(self, first: bytes, content: aiohttp.StreamReader) -> bytes:
        """The whole body; most come in one piece."""
        blocks, size = [first], len(first)
        while not content.at_eof():
            block = await content.readany()
            size += len(block)
            if size > self._most_bytes:
                raise aiohttp.ClientPayloadError
            blocks.append(block)
        return b"".join(blocks)

    def _target(self, url: str) -> _Target:
        """Raises InvalidURL for an address that is none."""
        address = URL(url, encoded=True)  # as it was written and, for some providers, signed
        if address.raw_host is None or address.scheme not in ("http", "https"):
            raise aiohttp.InvalidURL(url)
        head = f"POST {address.raw_path_qs} HTTP/1.1\r\nHost: {address.host_port_subcomponent}\r\n"
        request = aiohttp.ClientRequest("POST", address, loop=asyncio.get_running_loop())
        if len(self._targets) >= _MOST_TARGETS:
            self._targets.clear()
        made = self._targets[url] = _Target(head, request)
        return made


def _written(head: str, call: Call) -> bytes:
    """The request's bytes. Raises ValueError where a header would break out of its line."""
    headers = call.headers
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\r") != len(headers) or lines.count("\n") != len(headers):
        raise ValueError("a header holds a line end")
    return f"{head}{_usual(*headers)}{lines}Content-Length: {len(call.body)}\r\n\r\n".encode() + call.body


@lru_cache(maxsize=256)
def _usual(*names: str) -> str:
    """The lines that stand in every request, but for those that a call brings itself."""
    given = {name.lower() for name in names}
    return "".join([line for name, line in _DEFAULTS.items() if name not in given])


def is_plain(call: Call, *, most_bytes: int) -> bool:
    """Whether a call needs nothing but what this file does."""
    return call.method == "POST" and not call.stream and len(call.body) <= most_bytes and "@" not in call.url
