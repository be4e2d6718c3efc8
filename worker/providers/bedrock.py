"""Bedrock's wire: Converse.

Comes in: a line of any form, its route and, where there is one, a Bedrock API key; then the reply. Goes out: the call,
unsigned (``credentials`` signs it), and the answer in the line's form or the failure. No form of a line is Converse,
so each is translated. Streamed calls go to ConverseStream, whose body is the same and whose answer is ``frames``'.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from bucketline.catalog import Provider, Route
from bucketline.failure import Failure, Kind
from bucketline.request import Request
from bucketline.splice import dumps
from worker.providers.base import ACCEPT_ENCODING, Answer, Call, Reply
from worker.providers.claude import claude_of
from worker.providers.forms.answers_read import read_converse_answer
from worker.providers.forms.converse_write import write_converse
from worker.providers.streaming import wants_stream
from worker.providers.streams import assemble_converse
from worker.providers.usage import bedrock_usage
from worker.providers.verdicts import Verdict
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

__all__ = ["BedrockAdapter", "converse_verdict"]

_ID_HEADERS = ("x-amzn-requestid",)
_CONFIG = "inferenceConfig"
#: names in a route's ``set`` and ``unset`` that live inside inferenceConfig, in Amazon's spelling and in OpenAI's
_PLACES = {
    **{name: (_CONFIG, name) for name in ("maxTokens", "temperature", "topP", "stopSequences")},
    "max_tokens": (_CONFIG, "maxTokens"), "max_completion_tokens": (_CONFIG, "maxTokens"),
    "top_p": (_CONFIG, "topP"), "stop": (_CONFIG, "stopSequences"),
}  # fmt: skip
_FILTERED = frozenset({"guardrail_intervened", "content_filtered"})
_BROKEN = frozenset({"malformed_model_output", "malformed_tool_use"})


class BedrockAdapter:
    """The adapter of the wire ``bedrock``."""

    def call(self, request: Request, route: Route, key: str, *, request_id: str = "") -> Call | Failure:
        body, names = _written(request, route)
        if stops(names, route):
            return inexpressible(names, route)
        stream = wants_stream(request, route)
        operation = "converse-stream" if stream else "converse"
        return Call(
            url=f"{_host(route.provider)}/model/{quote(route.model, safe='')}/{operation}",
            headers=_headers(route.provider, key),
            body=dumps(body),
            stream=stream,
        )

    def read(self, reply: Reply, request: Request, route: Route, *, key: str = "") -> Answer | Failure:
        result = received(reply, assemble_converse, request, route, key, _ID_HEADERS)
        if isinstance(result, Failure):
            return result
        document, reply = result
        return answered(document, reply, request, route, _seen(document, reply), read_converse_answer, own=False)

    def refused(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(_written(request, route)[1])

    def wants_stream(self, request: Request, route: Route) -> bool:
        return wants_stream(request, route)


def _host(provider: Provider) -> str:
    return provider.base_url or f"https://bedrock-runtime.{provider.region or 'us-east-1'}.amazonaws.com"


def _headers(provider: Provider, key: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPT_ENCODING}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    headers.update(provider.headers)
    return headers


def _written(request: Request, route: Route) -> tuple[dict[str, Any], list[str]]:
    prompt = prompt_of(request, route)
    body, lost = write_converse(prompt, route.model, claude_of(route.model))
    return overridden(body, route, _PLACES), [*prompt.lost, *lost]


def converse_verdict(body: dict[str, Any]) -> Verdict:
    """Whether a Converse answer is one."""
    reason = body.get("stopReason")
    reason = reason if isinstance(reason, str) else None
    if reason in _FILTERED:
        return Kind.CONTENT_FILTER, reason
    if reason in _BROKEN:
        return Kind.EMPTY_ANSWER, reason
    output = body.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    listed = message.get("content") if isinstance(message, dict) else None
    blocks = [block for block in listed if isinstance(block, dict)] if isinstance(listed, list) else []
    if any(block.get("text") or "toolUse" in block or "citationsContent" in block for block in blocks):
        return None, reason
    cut = reason in ("max_tokens", "model_context_window_exceeded")
    return Kind.TRUNCATED if cut else Kind.EMPTY_ANSWER, reason


def _seen(document: dict[str, Any], reply: Reply) -> Seen:
    kind, finish = converse_verdict(document)
    tier = document.get("serviceTier")
    return Seen(
        usage=bedrock_usage(document.get("usage")),
        kind=kind,
        finish=finish,
        request_id=id_of(reply, _ID_HEADERS),
        tier=text_or_none(tier.get("type")) if isinstance(tier, dict) else None,
    )
