"""A request changed for one more try: a larger output cap, or the fault of its last answer told to the model.

Comes in: a request, and the truncated or invalid answer. Goes out: the request to send next, or None where there is
nothing to change. Bytes that are not concerned stay as they were. Pure; called by ``dispatch`` and ``attempt``, which say in
the line's results what was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bucketline.catalog import Route
from bucketline.declared import CAP_FIELDS, CONFIG_FIELDS
from bucketline.request import Form, Request
from bucketline.splice import loads, splice
from worker.checked import texts_of

__all__ = ["raised", "repaired"]

_ASK = (
    "Your answer does not satisfy the JSON schema that was asked for: {fault} "
    "Answer again with the corrected JSON document and nothing else."
)


def raised(request: Request, route: Route) -> Request | None:
    """The request with every output cap that it declares doubled; None where it declares none or the route sets it."""
    if any(name in route.set for name in (*CAP_FIELDS, *CONFIG_FIELDS)):
        return None
    changes: dict[str, Any] = _doubled(request.params)
    for name in CONFIG_FIELDS:
        config = request.params.get(name)
        if isinstance(config, dict):
            inner = _doubled(config)
            if inner:
                changes[name] = {**config, **inner}
    return _with(request, changes) if changes else None


def repaired(request: Request, answer_body: bytes, fault: str) -> Request | None:
    """The request with its invalid answer and what is wrong with it as two more turns; None where none can be added."""
    append = _APPEND.get(request.form)
    if append is None:
        return None
    said = "\n".join(texts_of(request.form, loads(answer_body)))
    changes = append(request.params, said, _ASK.format(fault=fault)) if said else {}
    return _with(request, changes) if changes else None


def _doubled(place: Mapping[str, Any]) -> dict[str, int]:
    caps = {name: place.get(name) for name in CAP_FIELDS}
    return {name: 2 * cap for name, cap in caps.items() if type(cap) is int and cap > 0}


def _with(request: Request, changes: Mapping[str, Any]) -> Request:
    return replace(request, body=splice(request.body, changes), params={**request.params, **changes})


def _chat(params: Mapping[str, Any], said: str, ask: str) -> dict[str, Any]:
    turns = params.get("messages")
    if not isinstance(turns, list):
        return {}
    return {"messages": [*turns, {"role": "assistant", "content": said}, {"role": "user", "content": ask}]}


def _responses(params: Mapping[str, Any], said: str, ask: str) -> dict[str, Any]:
    before = params.get("input")
    turns = [{"role": "user", "content": before}] if isinstance(before, str) else before
    if not isinstance(turns, list):
        return {}
    return {"input": [*turns, {"role": "assistant", "content": said}, {"role": "user", "content": ask}]}


def _generate(params: Mapping[str, Any], said: str, ask: str) -> dict[str, Any]:
    before = params.get("contents")
    turns = [{"role": "user", "parts": [{"text": before}]}] if isinstance(before, str) else before
    if isinstance(turns, dict):
        turns = [turns]
    if not isinstance(turns, list):
        return {}
    model = {"role": "model", "parts": [{"text": said}]}
    return {"contents": [*turns, model, {"role": "user", "parts": [{"text": ask}]}]}


_APPEND: Mapping[Form, Callable[[Mapping[str, Any], str, str], dict[str, Any]]] = MappingProxyType(
    {Form.CHAT: _chat, Form.MESSAGES: _chat, Form.RESPONSES: _responses, Form.GENERATE: _generate}
)
