"""One request: a line of the input, understood.

Comes in: the bytes of one record. Goes out: a ``Request`` with the body's own bytes, or a ``Fault`` that says what
is wrong with the line. The four input forms are told apart by their keys:

    {"custom_id", "method", "url", "body"}   OpenAI batch       {"custom_id", "params"}   Anthropic batch
    {"key", "request"}                       Gemini batch       {"model", "messages"}     a bare body, its id the line

Called at submit (to refuse bad lines before money is spent) and by the worker (to send them); both read a line the
same way because it is this function. Which provider serves the model is not decided here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson

from bucketline.splice import loads, member_value
from bucketline.value import value

__all__ = ["Fault", "Form", "JsonScalar", "Request", "read_request"]

JsonScalar = str | int | float | bool | None


class Form(StrEnum):
    """The shape of a request body, and so of the answer that goes back."""

    CHAT = "chat"
    RESPONSES = "responses"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    MESSAGES = "messages"
    GENERATE = "generate"
    EMBED = "embed"


#: the end of a url's path → the form; any version prefix and any host are accepted
_FORM_OF_PATH = (
    ("chat/completions", Form.CHAT),
    ("responses", Form.RESPONSES),
    ("completions", Form.COMPLETIONS),
    ("embeddings", Form.EMBEDDINGS),
    ("messages", Form.MESSAGES),
    (":generateContent", Form.GENERATE),
    (":embedContent", Form.EMBED),
)
_NEEDS = {
    Form.CHAT: "messages",
    Form.MESSAGES: "messages",
    Form.COMPLETIONS: "prompt",
    Form.EMBEDDINGS: "input",
    Form.GENERATE: "contents",
}
_ENVELOPE = re.compile(rb'"(body|params|request)"[ \t\r\n]*:[ \t\r\n]*(?=\{)')
_USUAL = re.compile(rb'\{"custom_id": ?"([ !#-\[\]-~]*)"([^{]{1,256})(?=\{)')
_MODEL_IN_PATH = re.compile(r"models/([^/:]+):")


@value
class Request:
    """A line that can be sent. ``params`` is the parsed body and is never changed; ``body`` is its own bytes."""

    line: int
    custom_id: JsonScalar
    form: Form
    model: str
    body: bytes
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be sent: where, whose, and one sentence on what is wrong with it."""

    line: int
    custom_id: JsonScalar
    message: str


class _Bad(Exception):
    def __init__(self, message: str, custom_id: JsonScalar = None) -> None:
        super().__init__(message)
        self.message, self.custom_id = message, custom_id


def read_request(raw: bytes, line: int, default_model: str | None = None) -> Request | Fault:
    """Understand one record. ``default_model`` stands in where a line names none; never raises."""
    try:
        found = _usual(raw, line)
        if found is not None:
            return found
        envelope, body, params = _open(raw)
        return _request(envelope, body, params, line, default_model)
    except _Bad as bad:
        return Fault(line, bad.custom_id, bad.message)


def _usual(raw: bytes, line: int) -> Request | None:
    """The line where it begins with a plain custom_id, ends with its body and lacks nothing; else None.

    What lies between the two is the same in all lines of most files, so it is understood once; of the line, only the
    body is parsed.
    """
    match = _USUAL.match(raw)
    if match is None or not raw.endswith(b"}}"):
        return None
    form = _form_of_middle(match[2])
    if form is None:
        return None
    body = raw[match.end() : -1]
    try:
        params = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    model = params.get("model")  # an object: it begins with a brace
    needed = _NEEDS.get(form)
    if type(model) is not str or model in ("", "models/") or (needed is not None and needed not in params):
        return None
    return Request(line, match[1].decode(), form, model.removeprefix("models/"), body, params)


@lru_cache(maxsize=256)
def _form_of_middle(middle: bytes) -> Form | None:
    """The form that an envelope gives, from what lies between its custom_id and its body; None where that is not all."""
    try:
        envelope = orjson.loads(b'{"custom_id":null' + middle + b"null}")
        if list(envelope)[-1] not in ("body", "params") or envelope["custom_id"] is not None:
            return None
        if "url" not in envelope and "params" not in envelope:
            return None  # the body alone can tell
        return _form(envelope, {}, None)
    except (orjson.JSONDecodeError, _Bad):
        return None


def _open(raw: bytes) -> tuple[dict[str, Any], bytes, Any]:
    """The envelope, the bytes of the body inside it, and the parsed body.

    The usual line ends with its body: then the envelope is parsed with a null in the body's place and the body
    once by itself, which costs one parse in all and leaves the body's bytes as they were.
    """
    match = _ENVELOPE.search(raw)
    end = raw.rfind(b"}")
    if match and end > match.end():
        try:
            envelope = orjson.loads(raw[: match.end()] + b"null" + raw[end:])
            body = raw[match.end() : end].rstrip()
            return envelope, body, orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    return _open_slowly(raw)


def _open_slowly(raw: bytes) -> tuple[dict[str, Any], bytes, Any]:
    try:
        envelope = loads(raw)
        if not isinstance(envelope, dict):
            raise _Bad(f"The line is {_kind(envelope)}; a request is a JSON object.")
        for key in ("body", "params", "request"):
            if key in envelope:
                return envelope, member_value(raw, key) or b"", envelope[key]
    except ValueError as error:
        raise _Bad(f"The line is not JSON: {_reason(error)}.") from None
    return {}, raw.strip(), envelope


def _request(envelope: dict[str, Any], body: bytes, params: Any, line: int, default_model: str | None) -> Request:
    custom_id = _custom_id(envelope, line)
    if not isinstance(params, dict):
        raise _Bad(f"The body is {_kind(params)}; it must be a JSON object.", custom_id)
    form = _form(envelope, params, custom_id)
    needed = _NEEDS.get(form)
    if needed and needed not in params and not (form is Form.COMPLETIONS and "suffix" in params):
        raise _Bad(f"The body has no {needed!r}, which a {form} request needs.", custom_id)
    model = _model(envelope, params, default_model)
    if not model:
        raise _Bad("The line names no model; add one to its body or give --model.", custom_id)
    return Request(line, custom_id, form, model, body, params)


def _custom_id(envelope: dict[str, Any], line: int) -> JsonScalar:
    if "custom_id" in envelope:
        custom_id = envelope["custom_id"]
    elif "key" in envelope:
        custom_id = envelope["key"]
    elif "body" in envelope or "params" in envelope:
        raise _Bad("The line has no custom_id, so its answer could not be matched to it.")
    else:
        return line
    if isinstance(custom_id, dict | list):
        raise _Bad(f"The custom_id is {_kind(custom_id)}; it must be a string, a number, true, false or null.")
    return custom_id  # type: ignore[no-any-return]


def _form(envelope: dict[str, Any], params: dict[str, Any], custom_id: JsonScalar) -> Form:
    if "params" in envelope and "body" not in envelope:
        return Form.MESSAGES
    if "request" in envelope and "body" not in envelope:
        return _gemini_form(params)
    url = envelope.get("url")
    if url is None:
        return _form_of_body(params, custom_id)
    method = envelope.get("method", "POST")
    if method != "POST" and (not isinstance(method, str) or method.upper() != "POST"):
        raise _Bad(f"The method is {method!r}; only POST can be sent.", custom_id)
    form = _form_of_url(url) if isinstance(url, str) else None
    if form is not None:
        return form
    raise _Bad(
        f"The url {url!r} is no endpoint that can be batched; use /v1/chat/completions, /v1/responses, "
        "/v1/embeddings, /v1/completions or /v1/messages.",
        custom_id,
    )


@lru_cache(maxsize=256)
def _form_of_url(url: str) -> Form | None:
    path = url.split("?", 1)[0].rstrip("/")
    return next((form for ending, form in _FORM_OF_PATH if path.endswith(ending)), None)


def _gemini_form(params: dict[str, Any]) -> Form:
    config = params.get("config")
    asks_vector = isinstance(config, dict) and ("task_type" in config or "output_dimensionality" in config)
    return Form.EMBED if "content" in params or asks_vector else Form.GENERATE


def _form_of_body(params: dict[str, Any], custom_id: JsonScalar) -> Form:
    if "messages" in params:
        return Form.MESSAGES if "system" in params or "anthropic_version" in params else Form.CHAT
    if "contents" in params or "content" in params:
        return _gemini_form(params)
    if "input" in params:
        vector = "dimensions" in params or "encoding_format" in params or "embed" in str(params.get("model"))
        return Form.EMBEDDINGS if vector else Form.RESPONSES
    if "prompt" in params and "model" in params:
        return Form.COMPLETIONS
    keys = ", ".join(sorted(map(str, params))[:6]) or "no keys"
    raise _Bad(f"The line is not a request (it has {keys}); expected custom_id, method, url and body.", custom_id)


def _model(envelope: dict[str, Any], params: dict[str, Any], default_model: str | None) -> str | None:
    for source in (params, envelope):
        model = source.get("model")
        if isinstance(model, str) and model:
            return model.removeprefix("models/")
    in_path = _MODEL_IN_PATH.search(str(envelope.get("url", "")))
    return in_path.group(1) if in_path else default_model


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        if error.msg == "Extra data":
            return f"after character {error.pos} there is more than one value; write one object a line"
        return f"{error.msg[:1].lower()}{error.msg[1:]} at character {error.pos}"
    return str(error)[:160].rstrip(".")
