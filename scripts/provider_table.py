"""The table of providers in the README, worked out by asking each adapter.

Comes in: the presets, one line for each capability, the recorded replies. Goes out: a Markdown table. A cell says yes
only where the adapter makes a call of that line for that provider's model and what was asked for stands in its body. The
last column is what the recorded replies were counted as. Used by ``scripts/reference.py`` and by the test beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import orjson

from bucketline.catalog import PRESETS, Catalog, Route
from bucketline.failure import Failure
from bucketline.request import Form, Request
from bucketline.settings import Settings
from bucketline.usage import Usage
from worker.providers import Answer, Call, adapter_for

__all__ = ["table"]

#: preset → a model of it with what any of its models has, where a preset has rules for single models
_MODELS = {
    "openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash",
    "vertex": "gemini-2.5-flash", "bedrock": "amazon.nova-lite-v1:0", "moonshot": "kimi-k2.6",
    "moonshot-cn": "kimi-k2.6", "llmapi": "gpt-5-mini", "openrouter": "qwen/qwen3-vl-30b", "deepseek": "deepseek-chat",
    "groq": "openai/gpt-oss-20b", "together": "Qwen/Qwen3-30B", "mistral": "mistral-small-latest",
}  # fmt: skip
_PLACE = {"base_url": "https://resource.test/v1", "project": "p", "region": "eu-west-1"}
_PICTURE = "data:image/png;base64,iVBORw0KGgo="
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_ASK: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
_SEE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PICTURE}}]}]
_TOOL = {"type": "function", "function": {"name": "weather", "parameters": _SCHEMA}}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": _SCHEMA}}
#: heading → what a chat line asks for, and a word that then stands in the call's body
_CAPABILITIES: Mapping[str, tuple[dict[str, Any], bytes]] = {
    "chat": ({"messages": _ASK}, b"hi"),
    "tools": ({"messages": _ASK, "tools": [_TOOL]}, b"weather"),
    "JSON schema": ({"messages": _ASK, "response_format": _FORMAT}, b"city"),
    "images": ({"messages": _SEE}, b"iVBORw0KGgo="),
    "reasoning effort": ({"messages": _ASK, "reasoning_effort": "high"}, b""),
}
#: the folder of recorded replies that is a preset's; those of the others stand under ``compat``
_RECORDED = {"google": "gemini", "moonshot-cn": "moonshot"}
_KINDS = {
    "cached_input_tokens": "cached", "cache_write_tokens": "cache writes", "reasoning_tokens": "reasoning",
    "audio_input_tokens": "audio",
}  # fmt: skip


def table(samples: list[Any]) -> str:
    """The table; ``samples`` are the recorded replies."""
    heads = ["provider", "wire", *_CAPABILITIES, "embeddings", "streamed", "counted apart in recorded replies"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    placeless = {name: _PLACE for name, preset in PRESETS.items() if not preset.base_url}
    catalog = Catalog(Settings.model_validate({"providers": placeless}))
    for name in PRESETS:
        route = Route(catalog.provider(name), _MODELS.get(name, "some-model"))
        cells = [f"`{name}`", route.provider.wire]
        cells += [_can(route, Form.CHAT, fields, word) for fields, word in _CAPABILITIES.values()]
        cells += [_can(route, Form.EMBEDDINGS, {"input": "hi"}, b"hi"), _streams(route), _counted(name, samples)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _can(route: Route, form: Form, fields: dict[str, Any], word: bytes) -> str:
    call = _call(route, form, fields)
    if isinstance(call, Failure):
        return "–"
    plain = _call(route, form, {"messages": _ASK}) if form is Form.CHAT and not word else None
    changed = plain is None or (isinstance(plain, Call) and plain.body != call.body)
    return "yes" if word in call.body and changed else "–"


def _streams(route: Route) -> str:
    eager = dataclasses.replace(route, provider=dataclasses.replace(route.provider, stream="always"))
    call = _call(eager, Form.CHAT, {"messages": _ASK})
    return "yes" if isinstance(call, Call) and call.stream else "–"


def _call(route: Route, form: Form, fields: dict[str, Any]) -> Call | Failure:
    params = {"model": route.model, **fields}
    request = Request(1, "r-1", form, route.model, orjson.dumps(params), params)
    return adapter_for(route.provider.wire).call(request, route, "key")


def _counted(name: str, samples: list[Any]) -> str:
    """The classes of tokens that at least one recorded reply of this provider has."""
    found: set[str] = set()
    for one in samples:
        if one.name.startswith((f"{_RECORDED.get(name, name)}/", f"compat/{name}.")):
            usage = _usage(one)
            found |= {word for field, word in _KINDS.items() if usage is not None and getattr(usage, field)}
    return ", ".join(word for word in _KINDS.values() if word in found) or "–"


def _usage(one: Any) -> Usage | None:
    params = {"model": "m", "messages": _ASK}
    request = Request(1, "r-1", one.form, "m", orjson.dumps(params), params)
    catalog = Catalog(
        Settings.model_validate({"providers": {"x": {"wire": one.wire, "base_url": "http://127.0.0.1/v1"}}})
    )
    read = adapter_for(one.wire).read(one.reply, request, Route(catalog.provider("x"), "m"))
    return read.usage if isinstance(read, Answer | Failure) else None
