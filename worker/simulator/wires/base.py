"""What a wire is: one provider's shape of one endpoint, in both directions.

In: a parsed body, or a draft or a refusal to be written. Out: an ``Ask``, or bytes and headers as the provider sends
them. One subclass for each endpoint; ``routes`` finds it by the path, ``provider`` and ``delivery`` call it. Pure: the
wall clock arrives as ``now_s`` where a header names a time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from typing import Any, ClassVar, Final

import orjson

from worker.simulator.config import RetryAfter
from worker.simulator.limits import Gauge, Refused
from worker.simulator.talk import Ask, Draft

__all__ = ["CREATED_S", "SSE", "Refusal", "Trouble", "Wire", "Written", "event", "pieces_of", "retry_headers"]

CREATED_S: Final = 1_795_000_000  #: answers are the same every time, so their date is too
SSE: Final = "text/event-stream; charset=utf-8"
_PIECES: Final = 8  #: a streamed text comes in at most so many


class Trouble(StrEnum):
    """Why a request is refused, before any wire has words for it."""

    UNAUTHORISED = "unauthorised"
    NO_PATH = "no_path"
    MODEL = "model"
    INVALID = "invalid"
    CONTEXT = "context"
    LIMITED = "limited"
    MONEY = "money"
    SERVER = "server"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal to be written. ``refused`` names the limit of a 429 that a limit caused."""

    trouble: Trouble
    model: str = ""
    message: str = ""
    param: str | None = None
    refused: Refused | None = None
    retry_after_s: float | None = None
    style: RetryAfter = RetryAfter.SECONDS
    serial: str = "0"
    now_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Written:
    """An HTTP answer without faults."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Wire(ABC):
    """One endpoint of one provider's API."""

    endpoint: ClassVar[str]  #: the name in the books
    stream_type: ClassVar[str] = SSE

    @abstractmethod
    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        """What the body asks; ``model`` is the one named in the path. Raises ``Invalid``."""

    @abstractmethod
    def write(self, ask: Ask, draft: Draft) -> bytes:
        """The body of the answer; a draft without choices gives an answer without any."""

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        """The body of a streamed answer, piece by piece; a wire without streams sends one."""
        return [self.write(ask, draft)]

    @abstractmethod
    def refuse(self, refusal: Refusal) -> Written:
        """A refusal in the provider's own shape."""

    @abstractmethod
    def stream_error(self, refusal: Refusal) -> bytes:
        """The piece that tells an error inside a stream."""

    @abstractmethod
    def headers(self, serial: str, gauges: Sequence[Gauge], now_s: float) -> dict[str, str]:
        """The answer's id and the state of the limits."""

    def missing_header(self, headers: Mapping[str, str]) -> str | None:
        """A sentence about a header this wire cannot do without, or None."""
        del headers
        return None


def event(name: str | None, value: Mapping[str, Any]) -> bytes:
    """One server-sent event, with its ``event:`` line where the wire has them."""
    data = b"data: " + orjson.dumps(value) + b"\n\n"
    return data if name is None else f"event: {name}\n".encode() + data


def pieces_of(text: str) -> list[str]:
    """A text in at most eight pieces, none empty."""
    step = max(4, math.ceil(len(text) / _PIECES))
    return [text[at : at + step] for at in range(0, len(text), step)]


def retry_headers(refusal: Refusal) -> dict[str, str]:
    """``retry-after`` as the provider's style wants it: whole seconds or an HTTP date, rounded up, at least one."""
    if refusal.retry_after_s is None or refusal.style is RetryAfter.NONE:
        return {}
    seconds = max(1, math.ceil(refusal.retry_after_s))
    if refusal.style is RetryAfter.DATE:
        return {"retry-after": formatdate(math.ceil(refusal.now_s) + seconds, usegmt=True)}
    return {"retry-after": str(seconds)}
