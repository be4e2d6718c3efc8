"""Providers' replies and lines for tests: the fixtures of ``tests/fixtures``, and small makers of records.

A fixture is an envelope: ``{schema, note, status, headers, body | body_text, expect}`` for a reply, ``{schema, url,
headers, body}`` for a request; ``*.sse.txt`` are raw streams. ``expect`` says what an adapter should make of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from multidict import CIMultiDict

from bucketline.catalog import Limits, Provider, Route
from bucketline.request import Form, Request
from worker.providers import Reply

FIXTURES = Path(__file__).parent / "fixtures"
_WIRES = {"anthropic": "anthropic", "gemini": "gemini", "vertex": "vertex", "bedrock": "bedrock"}
_HOMES = {
    "openai": "https://api.openai.com/v1",
    "azure": "https://res1.openai.azure.com/openai/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "llmapi": "https://api.llmapi.ai/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "openrouter": "https://openrouter.ai/api/v1",
    "deepseek": "https://api.deepseek.com",
    "groq": "https://api.groq.com/openai/v1",
    "together": "https://api.together.ai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "google-openai": "https://generativelanguage.googleapis.com/v1beta/openai",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One fixture."""

    name: str  #: ``anthropic/err.429.rate_limit``
    wire: str
    host: str
    document: dict[str, Any] = field(repr=False)

    @property
    def expect(self) -> dict[str, Any]:
        return self.document.get("expect") or {}

    @property
    def schema(self) -> str:
        return str(self.document["schema"])

    @property
    def reply(self) -> Reply:
        body = self.document
        raw = orjson.dumps(body["body"]) if "body" in body else body["body_text"].encode()
        return Reply(body["status"], CIMultiDict(body["headers"]), raw)

    @property
    def form(self) -> Form:
        """The form in which the host answered."""
        for word, form in (
            ("responses", Form.RESPONSES),
            ("embeddings", Form.EMBEDDINGS),
            ("anthropic", Form.MESSAGES),
            ("embed", Form.EMBED),
            ("generate", Form.GENERATE),
        ):
            if word in self.schema:
                return form
        return {"anthropic": Form.MESSAGES, "gemini": Form.GENERATE, "vertex": Form.GENERATE}.get(self.wire, Form.CHAT)


def samples(kind: str) -> Iterator[Sample]:
    """Every fixture of a kind (``request`` or ``response``) that is about single calls, not about batches."""
    for path in sorted(FIXTURES.glob("*/*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["kind"] == kind and ".batch" not in document["schema"] and ".file" not in document["schema"]:
            folder, stem = path.parent.name, path.name.removesuffix(".json")
            host = stem.split(".")[0] if folder == "compat" else folder
            if "openai_compat" in stem:
                yield Sample(f"{folder}/{stem}", "openai", "google-openai", document)
            else:
                yield Sample(f"{folder}/{stem}", _WIRES.get(folder, "openai"), host, document)


def sample(name: str) -> Sample:
    return next(one for kind in ("request", "response") for one in samples(kind) if one.name == name)


def provider(wire: str = "openai", host: str = "", **given: Any) -> Provider:
    """A provider of a wire; ``host`` is a name of ``_HOMES``, none is a host nobody knows."""
    home = _HOMES.get(host, "" if wire in ("vertex", "bedrock") else "http://alpha.test/v1")
    members: dict[str, Any] = {
        "name": host or "alpha", "wire": wire, "base_url": home, "api_key_env": None, "api_key_file": None,
        "scope": host or "alpha", "limits": Limits(), "model_limits": {}, "headers": MappingProxyType({}),
        "price_as": host or "alpha", "stream": "never",
    }  # fmt: skip
    return Provider(**{**members, **given})


def route(wire: str = "openai", model: str = "alpha-small", host: str = "", **given: Any) -> Route:
    """A route; what is no member of ``Route`` is given to its provider."""
    own = {name: given.pop(name) for name in ("set", "unset", "drop") if name in given}
    return Route(provider(wire, host, **given), model, **own)


def line(form: Form, params: dict[str, Any], body: bytes | None = None) -> Request:
    """A request as the reader of lines would have made it."""
    raw = orjson.dumps(params) if body is None else body
    return Request(1, "r-1", form, str(params.get("model") or "alpha-small"), raw, params)


def chat_line(**params: Any) -> Request:
    """A small chat line."""
    return line(Form.CHAT, {"model": "alpha-small", "messages": [{"role": "user", "content": "hi"}], **params})


def reply(status: int = 200, body: Any = b"", **headers: str) -> Reply:
    """A reply; a body that is no bytes is encoded as JSON."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, CIMultiDict({"content-type": "application/json", **named}), raw)
