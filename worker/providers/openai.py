"""OpenAI's wire, spoken by most hosts: chat, responses, completions and embeddings at any address.

Comes in: a line, its route and the key; then the reply. Goes out: the call, and the answer or the failure. A body of
the wire's own forms passes through byte for byte, but for the model's name, ``set``/``unset`` and what the host's
quirks (``quirks``) demand. This is the hot path: a body is parsed once, and a plain answer is never encoded anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from bucketline.catalog import Provider, Route
from bucketline.failure import TABLE, Failure
from bucketline.request import Form, Request
from bucketline.splice import loads, splice
from worker.providers.base import ACCEPT_ENCODING, Answer, Call, Reply
from worker.providers.errors import not_json, refusal
from worker.providers.quirks import Quirks, quirks_of
from worker.providers.usage import chat_usage, responses_usage
from worker.providers.verdicts import VERDICTS

__all__ = ["OpenAIAdapter"]

_PATHS = {
    Form.CHAT: "/chat/completions",
    Form.RESPONSES: "/responses",
    Form.COMPLETIONS: "/completions",
    Form.EMBEDDINGS: "/embeddings",
}
_OWN_STREAM = ("stream", "stream_options")
_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "msh-request-id",
    "apim-request-id",
    "x-litellm-call-id",
    "x-generation-id",
)


class OpenAIAdapter:
    """The adapter of the wire ``openai``."""

    def call(self, request: Request, route: Route, key: str, *, request_id: str = "") -> Call:
        provider = route.provider
        quirks = quirks_of(provider.preset, provider.base_url)
        stream = self.wants_stream(request, route)
        return Call(
            url=provider.base_url + _PATHS[request.form],
            headers=_headers(provider, quirks, key, request_id),
            body=_body(request, route, quirks, stream=stream),
            stream=stream,
        )

    def read(self, reply: Reply, request: Request, route: Route, *, key: str = "") -> Answer | Failure:
        try:
            document = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            try:
                document = loads(reply.body)
            except ValueError:
                return replace(not_json(reply), request_id=id_of(reply, _ID_HEADERS))
        if reply.status < 300 and type(document) is dict and not document.get("error") and not _base_error(document):
            return _answer(document, reply, request, route)
        return _refused(document, reply, request, route, key)

    def refused(self, request: Request, route: Route) -> tuple[str, ...]:
        return ()

    def wants_stream(self, request: Request, route: Route) -> bool:
        return False


def _headers(provider: Provider, quirks: Quirks, key: str, request_id: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPT_ENCODING}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if request_id:
        headers[quirks.id_header] = request_id
    if quirks.headers:
        headers.update(quirks.headers)
    if provider.headers:
        headers.update(provider.headers)
    return headers


def _body(request: Request, route: Route, quirks: Quirks, *, stream: bool) -> bytes:
    """The line's own bytes with the few members changed that this route changes."""
    params = request.params
    set_: dict[str, Any] = {}
    if params.get("model") != route.model:
        set_["model"] = route.model
    unset = [name for name in _OWN_STREAM if name in params]
    if route.set:
        set_.update(route.set)
    if route.unset:
        unset.extend(route.unset)
    for old, new in quirks.renames.items():
        if old in params and new not in params:
            set_.setdefault(new, params[old])
            unset.append(old)
    return splice(request.body, set_, unset) if set_ or unset else request.body


def _answer(document: dict[str, Any], reply: Reply, request: Request, route: Route) -> Answer | Failure:
    """A 2xx without an error in it: the answer, or what makes it none."""
    form = request.form
    quirks = quirks_of(route.provider.preset, route.provider.base_url)
    counts = document.get("usage")
    if form is Form.RESPONSES:
        usage = responses_usage(counts)
    else:
        usage = chat_usage(counts, output_is_rest=quirks.output_is_rest)
    kind, finish = VERDICTS[form](document)
    request_id = id_of(reply, _ID_HEADERS)
    served = _served(document)
    if kind is not None:
        return Failure(
            kind, TABLE[kind].sentence, reply.status, None, reply.body, usage, request_id, None, finish, served
        )
    if usage is not None and not usage.input_tokens and not usage.output_tokens:
        usage = None  # an answer cannot have cost nothing at all; a gateway says so where it did not count
    tier = document.get("service_tier")
    return Answer(
        body=reply.body,
        usage=usage,
        finish_reason=finish,
        served_model=served,
        request_id=request_id,
        status=reply.status,
        tier=tier if type(tier) is str else None,
        reported_nanousd=_reported(counts, quirks),
    )


def id_of(reply: Reply, names: tuple[str, ...]) -> str | None:
    """The first of the headers by which a provider names a call."""
    for name in names:
        value = reply.headers.get(name)
        if value:
            return value
    return None


def _served(document: dict[str, Any]) -> str | None:
    """Which model answered. LLM API may have switched provider or model and says so in ``metadata``."""
    metadata = document.get("metadata")
    if type(metadata) is dict and type(metadata.get("used_model")) is str:
        return f"{metadata.get('used_provider')}/{metadata['used_model']}"
    model = document.get("model")
    return model if type(model) is str and model else None


def _reported(counts: Any, quirks: Quirks) -> int | None:
    """The charge that a gateway itself states, in nano-dollars."""
    if quirks.cost is not None and type(counts) is dict:
        cost = counts.get(quirks.cost)
        if isinstance(cost, int | float) and 0 <= cost < 1e6:
            return round(cost * 1e9)
    return None


def _base_error(document: dict[str, Any]) -> bool:
    """MiniMax's way to say an error with a 200."""
    base = document.get("base_resp")
    return type(base) is dict and bool(base.get("status_code"))


def _refused(document: Any, reply: Reply, request: Request, route: Route, key: str) -> Failure:
    failure = refusal(reply, document, key=key, line_body=request.body, model=route.model)
    return replace(failure, request_id=id_of(reply, _ID_HEADERS))
