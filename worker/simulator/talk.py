"""What is asked and what is answered, in words that belong to no wire.

A wire (``wires/``) reads a body into an ``Ask`` and writes a ``Draft`` in its own shape; ``author`` makes the draft of
an ask. Records only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Ask", "Choice", "Draft", "Finish", "Invalid", "Spent", "Tool", "ToolCall"]


class Invalid(Exception):
    """The body is not a request of this wire; the text is the provider's sentence, ``param`` the place."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Finish(StrEnum):
    """Why an answer ends."""

    STOP = "stop"
    LENGTH = "length"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Tool:
    """The function that the answer has to call, and the schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``texts`` are the inputs of an embedding, and None for everything else."""

    model: str
    prompt: str  #: the last turn's text, which the answer echoes
    input_bytes: int  #: of every text the model is given
    max_tokens: int | None = None
    n: int = 1
    stream: bool = False
    include_usage: bool = True  #: of a stream: whether its end tells the usage
    stop: tuple[str, ...] = ()
    tool: Tool | None = None
    json: bool = False  #: the answer has to be JSON
    schema: Mapping[str, Any] | None = None  #: … and has to satisfy this
    texts: tuple[str, ...] | None = None
    dimensions: int | None = None
    base64: bool = False  #: vectors as base64 of little-endian float32


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens of one call, each wire counting them its own way: here cached and written are parts of the input,
    reasoning is part of the output.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; ``arguments`` as JSON text."""

    id: str
    name: str
    arguments: bytes


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer of a draft."""

    text: str
    finish: Finish
    tool: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A whole answer before a wire writes it. ``serial`` is 24 hex digits of the request's identity."""

    serial: str
    model: str
    choices: tuple[Choice, ...]
    spent: Spent
    vectors: tuple[tuple[float, ...], ...] = ()
