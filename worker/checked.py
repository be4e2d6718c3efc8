"""Answers held against the JSON schema that their request asked for.

Comes in: a request and its answer, both in the form of the line's url. Goes out: nothing where all is well or nothing was
asked for, else the failure ``invalid_answer``. A validator is compiled once for each schema; a request without one costs
a look-up or two. What is wrong is told by the schema's own words: nothing of an answer reaches a message. Called by
``attempt`` on every answer; the repair is ``revise``'s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from bucketline.declared import CONFIG_FIELDS
from bucketline.failure import TABLE, Failure, Kind
from bucketline.request import Form, Request
from bucketline.splice import dumps, loads
from bucketline.tally import CUT
from worker.providers.base import Answer
from worker.schemas import plain_schema

__all__ = ["Checker", "Verdict", "asked_schema", "texts_of"]

_KEPT = 256  #: compiled validators
_LONGEST_PLACE = 160


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with an answer: for the user without a word of it, for the model (``told``) in full."""

    failure: Failure
    told: str


class Checker:
    """The validators of one process."""

    def __init__(self) -> None:
        self._validators: OrderedDict[bytes, Validator | None] = OrderedDict()

    def check(self, request: Request, answer: Answer) -> Verdict | None:
        """None where the answer satisfies the request's schema, or there is none that can be checked.

        An answer that met its output cap is left as it is: it is half a document, and marked as such.
        """
        schema = asked_schema(request)
        if schema is None or answer.finish_reason in CUT:
            return None
        validator = self._validator(schema)
        if validator is None:
            return None
        for text in texts_of(request.form, loads(answer.body)):
            wrong = _wrong(validator, text)
            if wrong is not None:
                return Verdict(_failure(answer, wrong[0]), wrong[1])
        return None

    def _validator(self, schema: Mapping[str, Any]) -> Validator | None:
        """Compiled, or None for a schema that is none: the provider has taken it, so it is not ours to refuse."""
        key = blake2b(dumps(schema), digest_size=16).digest()
        if key in self._validators:
            self._validators.move_to_end(key)
            return self._validators[key]
        validator = self._validators[key] = _compiled(schema)
        if len(self._validators) > _KEPT:
            self._validators.popitem(last=False)
        return validator


def asked_schema(request: Request) -> Mapping[str, Any] | None:
    """The schema that a request asks its answer to satisfy, None where it asks for none."""
    found = _ASKED[request.form](request.params) if request.form in _ASKED else None
    return found if isinstance(found, dict) and found else None


def texts_of(form: Form, body: Any) -> Iterator[str]:
    """The texts of an answer that should be documents: one a choice; none where a tool was called instead."""
    read = _TEXTS.get(form)
    if read is not None and isinstance(body, dict):
        yield from read(body)


# ── where each form says what it wants, and where its answers say it ──────────────────────────────────────────────────


def _of(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _chat_schema(params: Mapping[str, Any]) -> Any:
    wanted = params.get("response_format")
    return None if wanted is None else _of(wanted, "json_schema", "schema")


def _responses_schema(params: Mapping[str, Any]) -> Any:
    wanted = params.get("text")
    return None if wanted is None else _of(wanted, "format", "schema")


def _messages_schema(params: Mapping[str, Any]) -> Any:
    if "output_config" in params:
        return _of(params["output_config"], "format", "schema")
    return _of(params["output_format"], "schema") if "output_format" in params else None


def _generate_schema(params: Mapping[str, Any]) -> Any:
    for name in CONFIG_FIELDS:
        config = params.get(name)
        if isinstance(config, dict):
            for key in ("responseJsonSchema", "response_json_schema"):
                if isinstance(config.get(key), dict):
                    return config[key]
            for key in ("responseSchema", "response_schema"):
                if isinstance(config.get(key), dict):
                    return plain_schema(config[key])
    return None


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _chat_texts(body: dict[str, Any]) -> Iterator[str]:
    for choice in _items(body.get("choices")):
        message = choice.get("message")
        if not isinstance(message, dict) or message.get("tool_calls") or message.get("function_call"):
            continue
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in _items(content))
        if isinstance(content, str) and content:
            yield content


def _responses_texts(body: dict[str, Any]) -> Iterator[str]:
    items = _items(body.get("output"))
    if any(item.get("type") not in ("message", "reasoning") for item in items):
        return
    parts = [part for item in items for part in _items(item.get("content")) if part.get("type") == "output_text"]
    if parts:
        yield "".join(str(part.get("text", "")) for part in parts)


def _messages_texts(body: dict[str, Any]) -> Iterator[str]:
    parts = _items(body.get("content"))
    texts = [str(part.get("text", "")) for part in parts if part.get("type") == "text"]
    if texts and not any(part.get("type") == "tool_use" for part in parts):
        yield "".join(texts)


def _generate_texts(body: dict[str, Any]) -> Iterator[str]:
    for candidate in _items(body.get("candidates")):
        parts = _items(_of(candidate, "content", "parts"))
        texts = [str(part["text"]) for part in parts if "text" in part and not part.get("thought")]
        if texts and not any("functionCall" in part for part in parts):
            yield "".join(texts)


_ASKED: Mapping[Form, Callable[[Mapping[str, Any]], Any]] = MappingProxyType(
    {
        Form.CHAT: _chat_schema,
        Form.RESPONSES: _responses_schema,
        Form.MESSAGES: _messages_schema,
        Form.GENERATE: _generate_schema,
    }
)
_TEXTS: Mapping[Form, Callable[[dict[str, Any]], Iterator[str]]] = MappingProxyType(
    {
        Form.CHAT: _chat_texts,
        Form.RESPONSES: _responses_texts,
        Form.MESSAGES: _messages_texts,
        Form.GENERATE: _generate_texts,
    }
)

# ── the check itself ──────────────────────────────────────────────────────────────────────────────────────────────────


def _compiled(schema: Mapping[str, Any]) -> Validator | None:
    """A validator that fetches nothing: a reference outside the schema cannot be followed."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError:
        return None
    return kind(schema, registry=Registry())


def _wrong(validator: Validator, text: str) -> tuple[str, str] | None:
    """What is wrong with one text: for people in the schema's words, and for the model in full."""
    try:
        document = loads(text)
    except (ValueError, RecursionError):
        return "it is not JSON", "The answer is not JSON."
    try:
        error = next(validator.iter_errors(document), None)
    except (Unresolvable, RecursionError):
        return None  # the schema refers to what is not in it
    if error is None:
        return None
    place = _place(error.absolute_schema_path)
    return f"{error.validator!r} does not hold{place}", f"{error.message[:500]} (at {error.json_path[:200]})"


def _place(schema_path: Sequence[str | int]) -> str:
    """Where, spelled by the schema's own property names: `` at items[].price``."""
    steps = iter(schema_path)
    place = ""
    for step in steps:
        if step == "properties":
            place += f".{next(steps, '')}"
        elif step in ("items", "prefixItems"):
            place += "[]"
    return f" at {place.lstrip('.')[:_LONGEST_PLACE]}" if place else ""


def _failure(answer: Answer, wrong: str) -> Failure:
    kind = Kind.INVALID_ANSWER
    return Failure(
        kind,
        f"{TABLE[kind].sentence} ({wrong})",
        status=answer.status,
        body=answer.body,
        usage=answer.usage,
        request_id=answer.request_id,
        finish_reason=answer.finish_reason,
        served_model=answer.served_model,
    )
