"""What a line asks and what an answer says, in no provider's words.

Each form's reader makes a ``Prompt`` of a body, each wire's writer makes a body of it; answers likewise by way of
``Told``. A reader names in ``lost`` what has no place here, a writer names what its wire has no word for; so nothing
falls between two forms unnamed. Two things are dropped on purpose when forms differ: marks for a provider's own prompt
cache, which change no answer, and signed thoughts of earlier turns, which another provider would refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bucketline.usage import Usage

__all__ = [
    "Candidate",
    "Finish",
    "Media",
    "Output",
    "Part",
    "Prompt",
    "Refusal",
    "Text",
    "Thought",
    "Told",
    "Tool",
    "ToolChoice",
    "ToolResult",
    "ToolUse",
    "Turn",
    "Vectors",
]

Finish = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a document or a sound: by address or as base64, never both."""

    kind: Literal["image", "file", "audio"]
    media_type: str = ""
    data: str | None = None  #: base64
    url: str | None = None
    name: str | None = None
    detail: str | None = None  #: OpenAI's resolution of an image


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call that the model makes. Text in ``arguments`` is what would not parse as an object."""

    id: str
    name: str
    arguments: Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave."""

    id: str
    parts: tuple[Text | Media, ...]
    name: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning that the provider showed."""

    text: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model's own words for why it does not answer."""

    text: str


Part = Text | Media | ToolUse | ToolResult | Thought | Refusal


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn. ``system`` only where it stands behind the first other turn."""

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; ``parameters`` is JSON Schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model calls a tool; ``names`` narrows ``required`` down."""

    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """The answer's shape: JSON, by a schema where there is one."""

    schema: Mapping[str, Any] | None = None
    name: str = "answer"
    strict: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a line asks. None, empty and False mean: not asked."""

    system: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    one_tool_at_a_time: bool = False
    output: Output | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: int | None = None  #: so many alternatives for each token; 0 is the token's own alone
    effort: str | None = None  #: none, minimal, low, medium, high, xhigh or max
    thinking_tokens: int | None = None  #: a budget; 0 is none at all, -1 the model's own choice
    thoughts: bool = False  #: the reasoning is to be shown
    verbosity: str | None = None
    tier: str | None = None
    user: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of an answer's alternatives. ``native`` is the provider's own word for why it ended."""

    parts: tuple[Part, ...]
    finish: Finish
    native: str | None = None
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An answer. ``created_s`` is the unix time of the reply's Date header, 0 where it has none."""

    id: str
    model: str
    candidates: tuple[Candidate, ...]
    usage: Usage | None = None
    created_s: int = 0
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class Vectors:
    """An answer of embeddings, in the order of the inputs."""

    model: str
    vectors: tuple[Any, ...]  #: lists of numbers, or base64 where the line asked for that
    usage: Usage | None = None
