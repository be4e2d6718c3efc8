"""A host's quirks applied to one line: what is refused by name, what is renamed, what is added.

Comes in: a line of OpenAI's forms, its route and the host's ``Quirks``. Goes out: the names that the host cannot
express, and the members to set and unset. A value that is the default anyway is left out, not refused. Called by the
``openai`` adapter; for hosts without quirks it returns at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bucketline.catalog import Route
from bucketline.request import Form, Request
from worker.providers.quirks import Quirks
from worker.providers.wire import OWN_STREAM

__all__ = ["changes", "demanded", "refused_by_host"]

#: what a parameter is worth when it is absent; saying so need not be refused
_DEFAULTS: Mapping[str, Any] = {
    "temperature": 1, "top_p": 1, "n": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False,
    "parallel_tool_calls": True, "tool_choice": "auto", "service_tier": "auto", "logit_bias": {},
}  # fmt: skip


def refused_by_host(request: Request, route: Route, quirks: Quirks) -> tuple[str, ...]:
    """The names of what the line asks for and the host refuses, ignores or cannot do."""
    if quirks.plain:
        return ()
    if request.form in (Form.EMBEDDINGS, Form.EMBED):
        return () if quirks.embeddings else ("embeddings",)
    given = {**request.params, **route.set} if route.set else request.params
    families = quirks.families_of(route.model)
    names = dict.fromkeys([*quirks.ignores, *quirks.refuses, *(name for f in families for name in f.refuses)])
    refused = [name for name in names if name in given and name not in route.unset and not _default(name, given[name])]
    if not quirks.json_schema and _asks_schema(given):
        refused.append("response_format.json_schema")
    if not quirks.image_urls and _has_image_url(given.get("messages")):
        refused.append("image by address")
    return tuple(refused)


def _default(name: str, value: Any) -> bool:
    return value is None or (name in _DEFAULTS and value == _DEFAULTS[name])


def _asks_schema(given: Mapping[str, Any]) -> bool:
    wanted = given.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") == "json_schema"


def _has_image_url(messages: Any) -> bool:
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            image = part.get("image_url") if isinstance(part, dict) else None
            url = image.get("url") if isinstance(image, dict) else image
            if isinstance(url, str) and url.startswith(("http:", "https:")):
                return True
    return False


def changes(request: Request, route: Route, quirks: Quirks, *, stream: bool) -> tuple[dict[str, Any], list[str]]:
    """The members of the line's body to set and to unset on this route."""
    params = request.params
    set_: dict[str, Any] = {}
    if params.get("model") != route.model:
        set_["model"] = route.model
    unset = [name for name in OWN_STREAM if name in params]
    if stream:
        set_.update(_stream_members(request.form, quirks))
    if route.set:
        set_.update(route.set)
    if route.unset:
        unset.extend(route.unset)
    if route.rename or not quirks.plain:
        _quirky(params, set_, unset, route, quirks)
    return set_, [name for name in unset if name not in set_]


def demanded(body: dict[str, Any], route: Route, quirks: Quirks, *, stream: bool) -> dict[str, Any]:
    """A body that we wrote, as the host wants it."""
    set_: dict[str, Any] = _stream_members(Form.CHAT, quirks) if stream else {}
    unset: list[str] = []
    _quirky(body, set_, unset, route, quirks)
    return {name: value for name, value in {**body, **set_}.items() if name not in unset or name in set_}


def _stream_members(form: Form, quirks: Quirks) -> dict[str, Any]:
    if form is Form.CHAT and quirks.stream_usage:
        return {"stream": True, "stream_options": {"include_usage": True}}
    return {"stream": True}


def _quirky(params: Mapping[str, Any], set_: dict[str, Any], unset: list[str], route: Route, quirks: Quirks) -> None:
    families = quirks.families_of(route.model)
    for renames in (route.rename, quirks.renames, *(family.renames for family in families)):
        for old, new in renames.items():
            _rename(old, new, params, set_, unset)
    fixed = (*quirks.refuses, *quirks.ignores, *(name for family in families for name in family.refuses))
    # The default: saying nothing says the same.
    unset.extend(name for name in fixed if name in params and _default(name, params[name]))
    if quirks.keeps_reasoning:
        messages = _with_reasoning(params.get("messages"))
        if messages is not None:
            set_["messages"] = messages


def _rename(old: str, new: str, params: Mapping[str, Any], set_: dict[str, Any], unset: list[str]) -> None:
    """The value of ``old`` under the name ``new``; a line that has both means the new one."""
    if old in set_:
        set_.setdefault(new, set_.pop(old))
    if old in params and old not in unset:
        unset.append(old)
        if params.get(new) is None and params[old] is not None:
            set_.setdefault(new, params[old])


def _with_reasoning(messages: Any) -> list[Any] | None:
    """The messages with a ``reasoning_content`` on each call of a tool (Kimi wants one, a space at least), or None."""
    if not isinstance(messages, list):
        return None
    lacking = [
        message
        for message in messages
        if isinstance(message, dict) and message.get("tool_calls") and not message.get("reasoning_content")
    ]
    if not lacking:
        return None
    return [{**message, "reasoning_content": " "} if message in lacking else message for message in messages]
