"""The network: one call out, one reply or failure back.

Comes in: a ``Call`` that an adapter wrote. Goes out: the ``Reply`` with its whole body, or the ``Failure`` that says at
which point the network let us down and so whether the call may have been billed. Knows no provider and no retry; how
many calls may run at once is decided before it is asked. The only file that opens connections to providers.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from email.utils import formatdate
from types import SimpleNamespace
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
_KEEP_ALIVE_S = 14.0  #: below the 15 s after which common servers close idle connections


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

        The wall stands outside the client, so that no stuck socket outlives it. A pooled connection that the server
        had closed meanwhile is replaced once: nothing was processed then, since the server never read a byte.
        """
        fresh = SimpleNamespace(reused=False)
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._exchange(call, provider, fresh)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                    if not fresh.reused or isinstance(error, aiohttp.ClientConnectorError):
                        raise
                    return await self._exchange(call, provider, SimpleNamespace(reused=False))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return _failure(error)

    async def _exchange(self, call: Call, provider: Provider, trace: SimpleNamespace) -> Reply:
        session = self._session(provider)
        async with session.request(
            call.method,
            URL(call.url, encoded=True),  # as it was written and, for some providers, signed
            data=call.body,
            headers=call.headers,
            allow_redirects=False,
            proxy=provider.proxy,
            trace_request_ctx=trace,
        ) as response:
            body = await response.read()
            return Reply(response.status, _dated(response.headers), body)

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
        trace = aiohttp.TraceConfig(trace_config_ctx_factory=_Traced)
        trace.on_connection_reuseconn.append(_mark_reused)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=32768,
            max_line_size=32768,
            trace_configs=[trace],
            auto_decompress=True,
        )


class _Traced(SimpleNamespace):
    """aiohttp builds one for each call; it is the one that ``send`` handed over."""

    def __new__(cls, trace_request_ctx: SimpleNamespace) -> SimpleNamespace:  # type: ignore[misc]
        return trace_request_ctx


async def _mark_reused(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    context.reused = True


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
