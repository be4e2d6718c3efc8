"""The socket for provider adapters: what goes in, what comes out, and what every plug must do.

Comes in: a ``Request``, the ``Route`` it takes and the key. Goes out: a ``Call`` for the transport; and for the
transport's ``Reply`` an ``Answer`` or a ``Failure``. An adapter does no I/O and reads no clock, and never raises on
what a provider sent, whatever it is. Called by ``attempt``; the sending is ``transport``'s, the key ``credentials``'.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from typing import Protocol

from bucketline.catalog import Route
from bucketline.failure import Failure
from bucketline.request import Request
from bucketline.usage import Usage
from bucketline.value import value

__all__ = ["ACCEPT_ENCODING", "Adapter", "Answer", "Call", "Reply"]


@value
class Call:
    """One HTTP request, whole. ``headers`` carry the key, so a call is never logged."""

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    stream: bool = False  #: the answer comes as events; the transport's idle clock applies

    def __repr__(self) -> str:
        return f"Call({self.method} {self.url.partition('?')[0]}, {len(self.body)} bytes)"


@value
class Reply:
    """What came back, decompressed. ``headers`` are looked up by lower-case names and must not mind the case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@value
class Answer:
    """A usable answer. ``body`` is JSON in the form of the line's url: the provider's own bytes where that is its form.

    ``usage`` is None where the answer's counts are missing or contradict themselves. ``finish_reason`` is the
    provider's own word. ``tier`` and ``reported_nanousd`` are what the answer itself says of its price.
    """

    body: bytes
    usage: Usage | None
    finish_reason: str | None
    served_model: str | None
    request_id: str | None
    status: int = 200
    raw: bytes | None = None  #: the provider's own body, where ``body`` is a translation of it
    tier: str | None = None
    reported_nanousd: int | None = None


class Adapter(Protocol):
    """One wire. Stateless; one object serves every call of the process."""

    def call(self, request: Request, route: Route, key: str, *, request_id: str = "") -> Call | Failure:
        """The call for this route, written anew from the line. ``request_id`` is ours, sent where a header takes it.

        A failure of the kind ``inexpressible`` when the line asks for what the route has no word for and may not drop.
        """
        ...

    def read(self, reply: Reply, request: Request, route: Route, *, key: str = "") -> Answer | Failure:
        """What the reply means for the line. ``key`` is taken out of whatever the provider echoed."""
        ...

    def refused(self, request: Request, route: Route) -> tuple[str, ...]:
        """The names of what the line asks for and the route cannot express; empty when all can be said."""
        ...

    def wants_stream(self, request: Request, route: Route) -> bool:
        """Whether the call should be streamed and put together again, by ``provider.stream`` and the model."""
        ...


def _accepted_encodings() -> str:
    """gzip and deflate always; br and zstd where the client can undo them, since it offers no more than that itself."""
    found = ["gzip", "deflate"]
    if any(importlib.util.find_spec(name) for name in ("brotlicffi", "brotli")):
        found.append("br")
    if sys.version_info >= (3, 14) or importlib.util.find_spec("backports"):
        zstd = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        if importlib.util.find_spec(zstd):
            found.append("zstd")
    return ", ".join(found)


ACCEPT_ENCODING = _accepted_encodings()  #: the value of our Accept-Encoding header
