"""The table of providers in the README, worked out by asking each adapter.

Comes in: the presets, one line for each capability, the recorded replies. Goes out: a Markdown table. A cell says yes
only where the adapter makes a call of that line for that provider's model and what was asked for stands in its body. The
last column is what the recorded replies were counted as. Each column names the test that tries its cells one by one
(``TESTS``). Used by ``scripts/reference.py`` and by those tests.
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

__all__ = ["TESTS", "Cell", "cells", "table"]

_SOCKETS = "tests/integration/providers/test_capabilities.py::test_a_cell_of_the_table_is_so"
_COUNTS = "tests/conformance/providers/test_replies_fall_on_their_rows.py::test_tokens_are_counted_in_the_one_meaning"

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
_WANT = [{"role": "user", "content": "What is the weather?"}]
_SEE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PICTURE}}]}]
_TOOL = {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": _SCHEMA}}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": _SCHEMA}}
#: heading → what a chat line asks for, and a word that then stands in the call's body
_CAPABILITIES: Mapping[str, tuple[dict[str, Any], bytes]] = {
    "chat": ({"messages": _ASK}, b"hi"),
    "tools": ({"messages": _WANT, "tools": [_TOOL]}, b"of a city"),
    "JSON schema": ({"messages": _ASK, "response_format": _FORMAT}, b"city"),
    "images": ({"messages": _SEE}, b"iVBORw0KGgo="),
    "reasoning effort": ({"messages": _ASK, "reasoning_effort": "high"}, b""),
}
_EMBEDDINGS, _STREAMED, _COUNTED = "embeddings", "streamed", "counted apart in recorded replies"
#: column → the test of its cells; the ids of the first are PROVIDER-COLUMN, those of the second the recorded replies
TESTS: Mapping[str, str] = {
    **dict.fromkeys([*_CAPABILITIES, _EMBEDDINGS, _STREAMED], _SOCKETS), _COUNTED: _COUNTS
}  # fmt: skip
#: the folder of recorded replies that is a preset's; those of the others stand under ``compat``
_RECORDED = {"google": "gemini", "moonshot-cn": "moonshot"}
_KINDS = {
    "cached_input_tokens": "cached", "cache_write_tokens": "cache writes", "reasoning_tokens": "reasoning",
    "audio_input_tokens": "audio",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cell:
    """One thing that a preset can do or not, and the line and route that show it."""

    preset: str
    column: str
    can: bool
    request: Request
    route: Route


def table(samples: list[Any]) -> str:
    """The table; ``samples`` are the recorded replies."""
    heads = ["provider", "wire", *TESTS]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    known = cells()
    for name in PRESETS:
        row = [cell for cell in known if cell.preset == name]
        said = ["yes" if cell.can else "–" for cell in row]
        lines.append(
            "| " + " | ".join([f"`{name}`", row[0].route.provider.wire, *said, _counted(name, samples)]) + " |"
        )
    return "\n".join(lines)


def cells() -> list[Cell]:
    """Every cell that says yes or no, in the table's order."""
    placeless = {name: _PLACE for name, preset in PRESETS.items() if not preset.base_url}
    catalog = Catalog(Settings.model_validate({"providers": placeless}))
    found = []
    for name in PRESETS:
        route = Route(dataclasses.replace(catalog.provider(name), stream="never"), _MODELS.get(name, "some-model"))
        eager = dataclasses.replace(route, provider=dataclasses.replace(route.provider, stream="always"))
        for column, (fields, word) in _CAPABILITIES.items():
            request = _line(route, Form.CHAT, fields)
            found.append(Cell(name, column, _can(request, route, word), request, route))
        texts, asked = _line(route, Form.EMBEDDINGS, {"input": "hi"}), _line(eager, Form.CHAT, {"messages": _ASK})
        found.append(Cell(name, _EMBEDDINGS, _can(texts, route, b"hi"), texts, route))
        found.append(Cell(name, _STREAMED, _can(asked, eager, b"hi", stream=True), asked, eager))
    return found


def _can(request: Request, route: Route, word: bytes, *, stream: bool = False) -> bool:
    """Whether the call is made, in the way asked for; without a word to look for, whether it differs from a plain one."""
    call = _call(request, route)
    if isinstance(call, Failure):
        return False
    plain = None if word else _call(_line(route, Form.CHAT, {"messages": _ASK}), route)
    changed = not isinstance(plain, Call) or plain.body != call.body
    return word in call.body and changed and call.stream is stream


def _line(route: Route, form: Form, fields: dict[str, Any]) -> Request:
    params = {"model": route.model, **fields}
    return Request(1, "r-1", form, route.model, orjson.dumps(params), params)


def _call(request: Request, route: Route) -> Call | Failure:
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
