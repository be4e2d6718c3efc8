"""Which wire a path belongs to.

In: a method, a path and its query, without the provider's prefix. Out: the wire and the model that the path names, or
None. Only the end of a path decides, so that every base address in use works (``/v1/…``, ``/openai/v1/…``,
``/openai/deployments/NAME/…``, ``/v1beta/openai/…``, Vertex's long ones). ``server`` keeps the answers. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from worker.simulator.wires.anthropic import Messages
from worker.simulator.wires.base import Wire
from worker.simulator.wires.bedrock import Converse, ConverseStream
from worker.simulator.wires.chat import Chat
from worker.simulator.wires.gemini import BatchEmbed, Embed, Generate, GenerateArray, GenerateStream, Predict
from worker.simulator.wires.openai import Completions, Embeddings
from worker.simulator.wires.responses import Responses

__all__ = ["Route", "family", "route"]


@dataclass(frozen=True, slots=True)
class Route:
    """A wire, and the model if the path names one."""

    wire: Wire
    model: str | None = None


_ENDS: Final[tuple[tuple[str, Wire], ...]] = (
    ("/chat/completions", Chat()),  # before the shorter ending
    ("/completions", Completions()),
    ("/responses", Responses()),
    ("/embeddings", Embeddings()),
    ("/messages", Messages()),
)
_VERBS: Final[dict[str, Wire]] = {
    "generateContent": Generate(), "embedContent": Embed(), "batchEmbedContents": BatchEmbed(),
    "predict": Predict(),
}  # fmt: skip
_STREAM, _ARRAY = GenerateStream(), GenerateArray()
_CONVERSE: Final[dict[str, Wire]] = {"converse": Converse(), "converse-stream": ConverseStream()}
_GEMINI: Final = re.compile(r"/models/([^/]+):(\w+)$")
_BEDROCK: Final = re.compile(r"/model/(.+)/(converse|converse-stream)$")
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/]+)/")


def route(path: str, query: str) -> Route | None:
    """The wire of a POST to this path, percent-encoded as it came."""
    for end, wire in _ENDS:
        if path.endswith(end):
            deployment = _DEPLOYMENT.search(path)
            return Route(wire, unquote(deployment[1]) if deployment else None)
    if (called := _GEMINI.search(path)) is not None:
        model, verb = unquote(called[1]), called[2]
        if verb == "streamGenerateContent":
            return Route(_STREAM if "alt=sse" in query else _ARRAY, model)
        return Route(_VERBS[verb], model) if verb in _VERBS else None
    if (called := _BEDROCK.search(path)) is not None:
        return Route(_CONVERSE[called[2]], unquote(called[1]))
    return None


def family(path: str, *, anthropic: bool) -> Wire:
    """The wire in whose shape a path that is none of them is refused."""
    if path.startswith("/model/"):
        return _CONVERSE["converse"]
    if path.startswith("/v1beta") or "/publishers/" in path:
        return _VERBS["generateContent"]
    return _ENDS[4][1] if anthropic else _ENDS[0][1]
