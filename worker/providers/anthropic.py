"""Anthropic's wire: Messages.

Comes in: a line of any form, its route and the key; then the reply. Goes out: the call, and the answer in the line's
form or the failure. A messages line passes through byte for byte; others are translated. Claude models differ in what
they accept (``claude``), and what a model would refuse is refused here by name.
"""

from __future__ import annotations

from typing import Any

from bucketline.catalog import Provider, Route
from bucketline.failure import Failure, Kind
from bucketline.request import Form, Request
from bucketline.splice import dumps, splice
from worker.providers.base import ACCEPT_ENCODING, Answer, Call, Reply
from worker.providers.claude import Claude, claude_of
from worker.providers.forms.answers_read import read_messages_answer
from worker.providers.forms.messages_write import write_messages
from worker.providers.streaming import wants_stream
from worker.providers.streams import assemble_messages
from worker.providers.usage import messages_usage
from worker.providers.verdicts import Verdict
from worker.providers.wire import (
    OWN_STREAM,
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

__all__ = ["AnthropicAdapter", "messages_verdict"]

_VERSION = "2023-06-01"
_ID_HEADERS = ("request-id", "x-request-id", "cf-ray")


class AnthropicAdapter:
    """The adapter of the wire ``anthropic``."""

    def call(self, request: Request, route: Route, key: str, *, request_id: str = "") -> Call | Failure:
        body, names = _written(request, route, stream=wants_stream(request, route))
        if stops(names, route):
            return inexpressible(names, route)
        base = route.provider.base_url
        return Call(
            url=f"{base}/messages" if base.endswith("/v1") else f"{base}/v1/messages",
            headers=_headers(route.provider, key, request_id),
            body=body,
            stream=wants_stream(request, route),
        )

    def read(self, reply: Reply, request: Request, route: Route, *, key: str = "") -> Answer | Failure:
        result = received(reply, assemble_messages, request, route, key, _ID_HEADERS)
        if isinstance(result, Failure):
            return result
        document, reply = result
        own = request.form is Form.MESSAGES
        return answered(document, reply, request, route, _seen(document, reply), read_messages_answer, own=own)

    def refused(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(_written(request, route, stream=False)[1])

    def wants_stream(self, request: Request, route: Route) -> bool:
        return wants_stream(request, route)


def _headers(provider: Provider, key: str, request_id: str) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": ACCEPT_ENCODING,
        "anthropic-version": provider.api_version or _VERSION,
    }
    if key.startswith("sk-ant-oat"):  # an OAuth token
        headers["Authorization"] = f"Bearer {key}"
    elif key:
        headers["x-api-key"] = key
    if request_id:
        headers["X-Client-Request-Id"] = request_id
    headers.update(provider.headers)
    return headers


def _written(request: Request, route: Route, *, stream: bool) -> tuple[bytes, list[str]]:
    """The body for this route, and what it cannot say."""
    claude = claude_of(route.model, route.provider.api_version)
    if request.form is Form.MESSAGES:
        names = _refused_by_model(request, route, claude)
        return _spliced(request, route, names, stream=stream), names
    prompt = prompt_of(request, route)
    body, lost = write_messages(prompt, route.model, claude)
    body = overridden(body, route, {})
    if stream:
        body["stream"] = True
    return dumps(body), [*prompt.lost, *lost]


def _refused_by_model(request: Request, route: Route, claude: Claude) -> list[str]:
    """What a line of Anthropic's own form asks for and this model answers with an error."""
    if claude.sampling and claude.forced_tool:
        return []
    given = {**request.params, **route.set} if route.set else request.params
    names = []
    if not claude.sampling:
        names = [name for name in ("temperature", "top_p", "top_k") if given.get(name) not in (None, 1)]
    choice = given.get("tool_choice")
    if not claude.forced_tool and isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        names.append("tool_choice")
    return [name for name in names if name not in route.unset]


def _spliced(request: Request, route: Route, dropped: list[str], *, stream: bool) -> bytes:
    params = request.params
    set_: dict[str, Any] = {} if params.get("model") == route.model else {"model": route.model}
    if stream:
        set_["stream"] = True
    set_.update(route.set)
    unset = [name for name in (*OWN_STREAM, *dropped) if name in params and name not in set_]
    unset.extend(name for name in route.unset if name not in set_)
    return splice(request.body, set_, unset)


def messages_verdict(body: dict[str, Any]) -> Verdict:
    """Whether a Message is an answer: a refusal, a pause and an empty list of blocks are none."""
    reason = body.get("stop_reason")
    reason = reason if isinstance(reason, str) else None
    if reason == "refusal":
        return Kind.CONTENT_FILTER, reason
    if reason == "pause_turn":
        return Kind.EMPTY_ANSWER, reason
    content = body.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    said = any(
        block.get("text") or block.get("type") not in ("text", "thinking", "redacted_thinking") for block in blocks
    )
    if said:
        return None, reason
    cut = reason in ("max_tokens", "model_context_window_exceeded")
    return Kind.TRUNCATED if cut else Kind.EMPTY_ANSWER, reason


def _seen(document: dict[str, Any], reply: Reply) -> Seen:
    counts = document.get("usage")
    kind, finish = messages_verdict(document)
    return Seen(
        usage=messages_usage(counts),
        kind=kind,
        finish=finish,
        request_id=id_of(reply, _ID_HEADERS),
        served_model=text_or_none(document.get("model")),
        tier=text_or_none(counts.get("service_tier")) if isinstance(counts, dict) else None,
    )
