"""The network: one call out, one reply or failure back.

Comes in: a ``Call`` that an adapter wrote. Goes out: the ``Reply`` with its whole body, or the ``Failure`` that says at
which point the network let us down and so whether the call may have been billed. Knows no provider and no retry; how
many calls may run at once is decided before it is asked. Five clocks run: for the connection, for a body that leaves,
for the first byte, for silence in a stream (``Clocks``), and for the whole. Only this file and ``direct``, its short way
for plain calls, open connections to providers.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from bucketline.catalog import Provider
from bucketline.errors import ConfigError
from bucketline.failure import TABLE, Failure, Kind
from worker.direct import Direct, is_plain
from worker.providers.base import Call, Reply

__all__ = ["Clocks", "Transport"]

_MOST_BYTES = 256 * 1024 * 1024  #: an answer larger than this is not one
_HEAD_BYTES = 32768  #: a line of an answer's head
_ONE_WRITE_BYTES = 1 << 20  #: larger bodies leave piece by piece, so that the loop is not held up
_KEEP_ALIVE_S = 4.0  #: below the 5 s after which common servers close idle connections


@dataclass(frozen=True, slots=True)
class Clocks:
    """How long each part of a call may take; the whole is told with each call. None: as long as the whole."""

    connect_s: float = 10.0  #: name, connection, a proxy's tunnel, TLS
    upload_s: float = 60.0  #: a large body of which nothing more leaves for so long is stuck
    first_byte_s: float | None = None  #: of a stream: from the last byte of the body to the reply's head
    idle_s: float = 120.0  #: a stream that has begun and says nothing for so long has died; pings come far more often


class _UploadStuckError(TimeoutError):
    """The body did not leave, so nobody can have worked on it."""


class _Phase:
    """The clock that runs now, apart from the whole call's."""

    def __init__(self, quiet: asyncio.Timeout) -> None:
        self._quiet = quiet
        self._now_s = asyncio.get_running_loop().time
        self.uploading = False

    def allow(self, seconds: float | None) -> None:
        """From now on so long until the next sign of progress."""
        if seconds is not None or self._quiet.when() is not None:
            self._quiet.reschedule(None if seconds is None else self._now_s() + seconds)


class _Body(io.BytesIO):
    """A large body that leaves piece by piece and tells the clock so."""

    def __init__(self, body: bytes, phase: _Phase, clocks: Clocks, first_byte_s: float | None) -> None:
        super().__init__(body)
        self._phase, self._clocks, self._first_byte_s, self._left_bytes = phase, clocks, first_byte_s, len(body)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._left_bytes -= len(data)
        self._phase.uploading = self._left_bytes > 0  # the last piece lies in buffers; nobody asks for one after it
        self._phase.allow(self._clocks.upload_s if self._phase.uploading else self._first_byte_s)
        return data


class Transport:
    """Connections to every provider of this process; one session for each proxy and CA."""

    def __init__(self, clocks: Clocks | None = None, *, resolver: Callable[[], Any] | None = None) -> None:
        self._clocks = clocks or Clocks()
        self._sessions: dict[tuple[str | None, str | None], aiohttp.ClientSession] = {}
        self._directs: dict[str | None, Direct] = {}
        self._resolver = resolver

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        self._directs.clear()

    async def send(self, call: Call, provider: Provider, timeout_s: float) -> Reply | Failure:
        """Send one call; returns within ``timeout_s`` whatever the peer does.

        The wall stands outside the client, so that no stuck socket, slow body or endless stream outlives it. Nothing
        is sent twice here: where a connection breaks off, nobody can tell whether the provider has read the call.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if provider.proxy is None and is_plain(call, most_bytes=_ONE_WRITE_BYTES):
                    reply = await self._direct(provider).exchange(call)
                    return reply if "Date" in reply.headers else replace(reply, headers=_dated(reply.headers))
                return await self._exchange(call, provider)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return _failure(error)
        except ConfigError as error:
            return Failure(Kind.TLS, str(error))

    async def _exchange(self, call: Call, provider: Provider) -> Reply:
        session, clocks = self._session(provider), self._clocks
        first_byte_s = clocks.first_byte_s if call.stream else None
        phase = None
        try:
            async with asyncio.timeout(None) as quiet:
                phase = _Phase(quiet)
                phase.allow(first_byte_s)
                large = len(call.body) > _ONE_WRITE_BYTES
                async with session.request(
                    call.method,
                    URL(call.url, encoded=True),  # as it was written and, for some providers, signed
                    data=_Body(call.body, phase, clocks, first_byte_s) if large else call.body,
                    headers=call.headers,
                    allow_redirects=False,
                    proxy=provider.proxy,
                ) as response:
                    idle_s = clocks.idle_s if call.stream else None
                    return Reply(response.status, _dated(response.headers), await _whole(response, phase, idle_s))
        except TimeoutError:
            if phase is not None and phase.uploading:
                raise _UploadStuckError from None
            raise

    def _direct(self, provider: Provider) -> Direct:
        """The short way to the providers of a CA, over the connections of their session."""
        direct = self._directs.get(provider.ca_file)
        if direct is None:
            connector = self._session(provider).connector
            assert connector is not None
            direct = Direct(connector, self._clocks.connect_s, _MOST_BYTES, _HEAD_BYTES)
            self._directs[provider.ca_file] = direct
        return direct

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
            timeout=aiohttp.ClientTimeout(total=None, connect=self._clocks.connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=_HEAD_BYTES,
            max_line_size=_HEAD_BYTES,
            auto_decompress=True,
        )


async def _whole(response: aiohttp.ClientResponse, phase: _Phase, idle_s: float | None) -> bytes:
    """The body, decompressed. Raises ClientPayloadError where it is larger than any answer, TimeoutError where it died."""
    if (response.content_length or 0) > _MOST_BYTES:
        raise aiohttp.ClientPayloadError
    blocks: list[bytes] = []
    size = 0
    phase.uploading = False
    phase.allow(idle_s)
    async for block in response.content.iter_any():
        size += len(block)
        if size > _MOST_BYTES:
            raise aiohttp.ClientPayloadError
        blocks.append(block)
        phase.allow(idle_s)
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
    if isinstance(error, _UploadStuckError):
        return Failure(Kind.TIMEOUT_BEFORE_SEND, "The request could not be sent to its end in time.")
    kind = _kind(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Failure(kind, f"The HTTP proxy refused to connect (status {error.status}); check the provider's proxy.")
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
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        return Kind.CONNECTION_REFUSED
    if isinstance(error, aiohttp.ClientPayloadError):
        return Kind.CUT_BODY
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        return Kind.NOT_JSON
    return Kind.CONNECTION_LOST
