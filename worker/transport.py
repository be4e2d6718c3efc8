"""The network: one call out, one reply or failure back.

Comes in: a ``Call`` that an adapter wrote. Goes out: the ``Reply`` with its whole body, or the ``Failure`` that says at
which point the network let us down and so whether the call may have been billed. Knows no provider and no retry; how
many calls may run at once is decided before it is asked. The only file that opens connections to providers.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from bucketline.catalog import Provider
from bucketline.errors import ConfigError
from bucketline.failure import TABLE, Failure, Kind
from worker.providers.base import Call, Reply

__all__ = ["Transport"]

_MOST_BYTES = 256 * 1024 * 1024  #: an answer larger than this is not one
_ONE_WRITE_BYTES = 1 << 20  #: larger bodies leave piece by piece, so that the loop is not held up
_KEEP_ALIVE_S = 4.0  #: below the 5 s after which common servers close idle connections
_IDLE_S = 120.0  #: a stream that has begun and says nothing for so long has died; its pings come far more often


class Transport:
    """Connections to every provider of this process; one session for each proxy and CA."""

    def __init__(self, *, connect_timeout_s: float = 10.0, resolver: Callable[[], Any] | None = None) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._sessions: dict[tuple[str | None, str | None], aiohttp.ClientSession] = {}
        self._resolver = resolver

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def send(self, call: Call, provider: Provider, timeout_s: float) -> Reply | Failure:
        """Send one call; returns within ``timeout_s`` whatever the peer does.

        The wall stands outside the client, so that no stuck socket, slow body or endless stream outlives it. Nothing
        is sent twice here: where a connection breaks off, nobody can tell whether the provider has read the call.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(call, provider)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return _failure(error)

    async def _exchange(self, call: Call, provider: Provider) -> Reply:
        session = self._session(provider)
        async with session.request(
            call.method,
            URL(call.url, encoded=True),  # as it was written and, for some providers, signed
            data=call.body if len(call.body) <= _ONE_WRITE_BYTES else io.BytesIO(call.body),
            headers=call.headers,
            allow_redirects=False,
            proxy=provider.proxy,
        ) as response:
            return Reply(response.status, _dated(response.headers), await _whole(response, stream=call.stream))

    def _session(self, provider: Provider) -> aiohttp.ClientSession:
        key = (provider.proxy, provider.ca_file)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._open(provider.ca_file)
        return session

    def _open(self, ca_file: str | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # calls in flight are bounded before they come here, where waiting costs no timeout
            ttl_dns_cache=60,
            keepalive_timeout=_KEEP_ALIVE_S,
            ssl=_context(ca_file) if ca_file else True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=32768,
            max_line_size=32768,
            auto_decompress=True,
        )


async def _whole(response: aiohttp.ClientResponse, *, stream: bool) -> bytes:
    """The body, decompressed. Raises ClientPayloadError where it is larger than any answer, TimeoutError where it died."""
    if (response.content_length or 0) > _MOST_BYTES:
        raise aiohttp.ClientPayloadError
    blocks: list[bytes] = []
    size = 0
    async with asyncio.timeout(None) as idle:
        async for block in response.content.iter_any():
            size += len(block)
            if size > _MOST_BYTES:
                raise aiohttp.ClientPayloadError
            blocks.append(block)
            if stream:
                idle.reschedule(asyncio.get_running_loop().time() + _IDLE_S)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _dated(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Where a server tells no time, that of receipt stands for it (RFC 9110, 6.6.1): waits told as dates need one."""
    if "Date" in headers:
        return headers
    dated = CIMultiDict(headers)
    dated["Date"] = formatdate(usegmt=True)
    return dated


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"The CA file {ca_file} cannot be read as PEM certificates.") from None


def _failure(error: BaseException) -> Failure:
    """The kind of a network fault, and with it whether the provider can have seen the request."""
    kind = _kind(error)
    return Failure(kind, TABLE[kind].sentence)


def _kind(error: BaseException) -> Kind:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Kind.TIMEOUT_BEFORE_SEND
    if isinstance(error, TimeoutError):
        return Kind.TIMEOUT_AFTER_SEND
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Kind.DNS
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return Kind.TLS
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError):
        return Kind.CONNECTION_REFUSED
    if isinstance(error, aiohttp.ClientPayloadError):
        return Kind.CUT_BODY
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        return Kind.NOT_JSON
    return Kind.CONNECTION_LOST
