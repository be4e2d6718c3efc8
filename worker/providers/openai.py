"""OpenAI's wire, spoken by most hosts: chat, responses, completions and embeddings at any address.

Comes in: a line, its route and the key; then the reply. Goes out: the call, and the answer or the failure. A body of
the wire's own forms passes through byte for byte, but for the model's name, ``set``/``unset`` and what the host's
quirks (``quirks``) demand; other forms go out as chat. This is the hot path: a body is parsed once, and a plain answer
is never encoded anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from bucketline.catalog import Provider, Route
from bucketline.failure import Failure
from bucketline.request import Form, Request
from bucketline.splice import dumps, splice
from worker.providers.base import ACCEPT_ENCODING, Answer, Call, Reply
from worker.providers.forms.answers_read import read_chat_answer
from worker.providers.forms.chat_write import write_chat
from worker.providers.forms.embeddings import read_embeddings, read_openai_vectors, write_embeddings, write_vectors
from worker.providers.host_rules import changes, demanded, refused_by_host
from worker.providers.quirks import Quirks, quirks_of
from worker.providers.streaming import wants_stream
from worker.providers.streams import assemble_chat, assemble_responses
from worker.providers.usage import chat_usage, responses_usage
from worker.providers.verdicts import VERDICTS
from worker.providers.wire import (
    Seen,
    answered,
    id_of,
    inexpressible,
    overridden,
    prompt_of,
    received,
    stops,
    text_or_none,
)

__all__ = ["OpenAIAdapter"]

_PATHS = {
    Form.CHAT: "/chat/completions",
    Form.RESPONSES: "/responses",
    Form.COMPLETIONS: "/completions",
    Form.EMBEDDINGS: "/embeddings",
}
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

    def call(self, request: Request, route: Route, key: str, *, request_id: str = "") -> Call | Failure:
        provider = route.provider
        quirks = quirks_of(provider.preset, provider.base_url)
        form = _form_out(request.form, quirks)
        stream = form in (Form.CHAT, Form.RESPONSES) and wants_stream(request, route)
        if form is request.form:
            names = refused_by_host(request, route, quirks)
            body = b"" if names and not route.drop else _spliced(request, route, quirks, names, stream=stream)
        else:
            written, lost = _written(request, route, quirks)
            names = tuple(lost)
            body = dumps(demanded(written, route, quirks, stream=stream))
        if stops(names, route):
            return inexpressible(names, route)
        return Call(
            url=_url(provider, route, form),
            headers=_headers(provider, quirks, key, request_id),
            body=body,
            stream=stream,
        )

    def read(self, reply: Reply, request: Request, route: Route, *, key: str = "") -> Answer | Failure:
        quirks = quirks_of(route.provider.preset, route.provider.base_url)
        form = _form_out(request.form, quirks)
        assemble = assemble_responses if form is Form.RESPONSES else assemble_chat
        result = received(reply, assemble, request, route, key, _ID_HEADERS)
        if isinstance(result, Failure):
            return result
        document, reply = result
        seen = _seen(document, reply, form, quirks)
        if request.form is Form.EMBED and seen.kind is None:
            return _vector(document, reply, seen, route.model)
        return answered(document, reply, request, route, seen, read_chat_answer, own=form is request.form)

    def refused(self, request: Request, route: Route) -> tuple[str, ...]:
        quirks = quirks_of(route.provider.preset, route.provider.base_url)
        if _form_out(request.form, quirks) is request.form:
            return refused_by_host(request, route, quirks)
        return tuple(_written(request, route, quirks)[1])

    def wants_stream(self, request: Request, route: Route) -> bool:
        return wants_stream(request, route)


def _form_out(form: Form, quirks: Quirks) -> Form:
    """The form in which a line goes out: its own where the host has it."""
    if form is Form.CHAT:
        return form
    if form is Form.EMBED:
        return Form.EMBEDDINGS
    if form in (Form.MESSAGES, Form.GENERATE) or (form is Form.RESPONSES and not quirks.responses):
        return Form.CHAT
    return form


def _url(provider: Provider, route: Route, form: Form) -> str:
    """The address; with an ``api_version``, Azure's older one, where the deployment stands in the path."""
    base = provider.base_url
    if provider.api_version and provider.preset == "azure" and not base.endswith("/v1"):
        root = base if base.endswith("/openai") else f"{base}/openai"
        deployment = "" if form is Form.RESPONSES else f"/deployments/{quote(route.model, safe='')}"
        return f"{root}{deployment}{_PATHS[form]}?api-version={quote(provider.api_version)}"
    return base + _PATHS[form]


def _headers(provider: Provider, quirks: Quirks, key: str, request_id: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPT_ENCODING}
    if key:
        if quirks.key_header is not None and not key.startswith("eyJ"):  # an Entra token is a JWT and goes as bearer
            headers[quirks.key_header] = key
        else:
            headers["Authorization"] = f"Bearer {key}"
    if request_id:
        headers[quirks.id_header] = request_id
    if quirks.headers:
        headers.update(quirks.headers)
    if provider.headers:
        headers.update(provider.headers)
    return headers


def _spliced(request: Request, route: Route, quirks: Quirks, dropped: tuple[str, ...], *, stream: bool) -> bytes:
    """The line's own bytes with the few members changed that this route changes."""
    set_, unset = changes(request, route, quirks, stream=stream)
    if dropped:
        unset.extend(name.partition(".")[0] for name in dropped)
    return splice(request.body, set_, unset) if set_ or unset else request.body


def _written(request: Request, route: Route, quirks: Quirks) -> tuple[dict[str, Any], list[str]]:
    """The body of a line of another form, and what it cannot say."""
    if request.form is Form.EMBED:
        texts = read_embeddings(request.form, request.params)
        body, lost = write_embeddings(texts, route.model)
        return overridden(body, route, {}), [*texts.lost, *lost, *refused_by_host(request, route, quirks)]
    prompt = prompt_of(request, route)
    body, lost = write_chat(prompt, route.model, keeps_reasoning=quirks.keeps_reasoning)
    body = overridden(body, route, {})
    translated_line = replace(request, form=Form.CHAT, params=body)
    refused = refused_by_host(translated_line, replace(route, set={}, unset=()), quirks)
    kept = {name: value for name, value in body.items() if name not in refused or name in route.set}
    return kept, [*prompt.lost, *lost, *refused]


def _seen(document: dict[str, Any], reply: Reply, form: Form, quirks: Quirks) -> Seen:
    counts = document.get("usage")
    if form is Form.RESPONSES:
        usage = responses_usage(counts)
    else:
        usage = chat_usage(counts, output_is_rest=quirks.output_is_rest)
    kind, finish = VERDICTS[form](document)
    if kind is None and usage is not None and not usage.input_tokens and not usage.output_tokens:
        usage = None  # an answer cannot have cost nothing at all; a gateway says so where it did not count
    return Seen(
        usage=usage,
        kind=kind,
        finish=finish,
        request_id=id_of(reply, _ID_HEADERS),
        served_model=_served(document),
        tier=text_or_none(document.get("service_tier")),
        reported_nanousd=_reported(counts, quirks),
    )


def _vector(document: dict[str, Any], reply: Reply, seen: Seen, model: str) -> Answer:
    """An embedding in Google's form, for a line of that form."""
    vectors = read_openai_vectors(document, seen.usage, model)
    body = dumps(write_vectors(vectors, Form.EMBED, packed=False))
    return Answer(
        body=body,
        usage=seen.usage,
        finish_reason=None,
        served_model=seen.served_model,
        request_id=seen.request_id,
        status=reply.status,
        raw=reply.body,
        reported_nanousd=seen.reported_nanousd,
    )


def _served(document: dict[str, Any]) -> str | None:
    """Which model answered. LLM API may have switched provider or model and says so in ``metadata``."""
    metadata = document.get("metadata")
    if type(metadata) is dict and type(metadata.get("used_model")) is str:
        return f"{metadata.get('used_provider')}/{metadata['used_model']}"
    return text_or_none(document.get("model"))


def _reported(counts: Any, quirks: Quirks) -> int | None:
    """The charge that a gateway itself states, in nano-dollars."""
    if quirks.cost is not None and type(counts) is dict:
        cost = counts.get(quirks.cost)
        if isinstance(cost, int | float) and 0 <= cost < 1e6:
            return round(cost * 1e9)
    return None
