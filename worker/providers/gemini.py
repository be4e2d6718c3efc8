"""Google's wire: generateContent and embeddings, at the Gemini API or on Vertex.

Comes in: a line of any form, its route and the key; then the reply. Goes out: the call, and the answer in the line's
form or the failure. A generate line passes through byte for byte (its model stands in the path); others are translated.
The two surfaces differ in address, key header and the method for embeddings; that is all ``vertex`` changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bucketline.catalog import Route
from bucketline.failure import TABLE, Failure, Kind
from bucketline.request import Form, Request
from bucketline.splice import dumps, splice
from worker.providers.base import Answer, Call, Reply
from worker.providers.forms.answers_read import read_generate_answer
from worker.providers.forms.embeddings import (
    Texts,
    read_embeddings,
    read_google_vectors,
    write_google,
    write_vectors,
    write_vertex,
)
from worker.providers.forms.generate_write import write_generate
from worker.providers.google_hosts import address, google_headers
from worker.providers.streaming import wants_stream
from worker.providers.streams import assemble_generate
from worker.providers.usage import gemini_usage
from worker.providers.verdicts import Verdict
from worker.providers.wire import (
    NOTHING_LEFT,
    OWN_STREAM,
    Seen,
    answered,
    id_of,
    inexpressible,
    judged,
    nested,
    overridden,
    prompt_of,
    received,
    stops,
    text_or_none,
)

__all__ = ["GeminiAdapter", "generate_verdict"]

_ID_HEADERS = ("x-request-id", "x-goog-request-id", "x-cloud-trace-context")
_CONFIG = "generationConfig"
#: names in a route's ``set`` and ``unset`` that live inside generationConfig, in Google's spelling and in OpenAI's
_PLACES = {
    **{name: (_CONFIG, name) for name in ("maxOutputTokens", "temperature", "topP", "topK", "candidateCount", "seed",
        "presencePenalty", "frequencyPenalty", "stopSequences", "responseMimeType", "responseJsonSchema",
        "responseSchema", "thinkingConfig", "responseModalities", "mediaResolution", "responseLogprobs")},
    "max_tokens": (_CONFIG, "maxOutputTokens"), "max_completion_tokens": (_CONFIG, "maxOutputTokens"),
    "top_p": (_CONFIG, "topP"), "top_k": (_CONFIG, "topK"), "n": (_CONFIG, "candidateCount"),
    "stop": (_CONFIG, "stopSequences"), "presence_penalty": (_CONFIG, "presencePenalty"),
    "frequency_penalty": (_CONFIG, "frequencyPenalty"),
}  # fmt: skip
_FILTERED = frozenset(
    {
        "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "MODEL_ARMOR", "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    }
)  # fmt: skip
_ENDED_WELL = frozenset({"STOP", "MAX_TOKENS"})


class GeminiAdapter:
    """The adapter of the wires ``gemini`` and ``vertex``."""

    def __init__(self, *, vertex: bool = False) -> None:
        self._vertex = vertex

    def call(self, request: Request, route: Route, key: str, *, request_id: str = "") -> Call | Failure:
        stream = request.form is not Form.EMBED and request.form is not Form.EMBEDDINGS and wants_stream(request, route)
        method, body, names = self._written(request, route, stream=stream)
        if stops(names, route):
            return inexpressible(names, route)
        return Call(
            url=address(route, method, key, vertex=self._vertex),
            headers=google_headers(route.provider, key, request_id, vertex=self._vertex),
            body=body,
            stream=stream,
        )

    def read(self, reply: Reply, request: Request, route: Route, *, key: str = "") -> Answer | Failure:
        result = received(reply, assemble_generate, request, route, key, _ID_HEADERS)
        if isinstance(result, Failure):
            return self._google_kind(result)
        document, reply = result
        if request.form in (Form.EMBED, Form.EMBEDDINGS):
            return _vectors(document, reply, request, route.model)
        own = request.form is Form.GENERATE
        return answered(document, reply, request, route, _seen(document, reply), read_generate_answer, own=own)

    def refused(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route, stream=False)[2])

    def wants_stream(self, request: Request, route: Route) -> bool:
        return wants_stream(request, route)

    def _written(self, request: Request, route: Route, *, stream: bool) -> tuple[str, bytes, list[str]]:
        """The method, the body for this route, and what it cannot say."""
        if request.form in (Form.EMBED, Form.EMBEDDINGS):
            return self._embedding(request, route)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        if request.form is Form.GENERATE:
            return method, _spliced(request, route), []
        prompt = prompt_of(request, route)
        body, lost = write_generate(prompt, route.model, vertex=self._vertex)
        return method, dumps(overridden(body, route, _PLACES)), [*prompt.lost, *lost]

    def _embedding(self, request: Request, route: Route) -> tuple[str, bytes, list[str]]:
        if request.form is Form.EMBED and not self._vertex and "config" not in request.params:
            return "embedContent", splice(request.body, dict(route.set), _unset(route)), []
        texts: Texts = read_embeddings(request.form, request.params)
        if self._vertex:
            method, body = "predict", write_vertex(texts)
        else:
            body, method = write_google(texts, route.model)
        lost = [*texts.lost] if texts.texts else [*texts.lost, NOTHING_LEFT]
        return method, dumps(overridden(body, route, {})), lost

    def _google_kind(self, failure: Failure) -> Failure:
        """On Vertex a 401 means a token that has run out: a fresh one is fetched and the call made again."""
        if self._vertex and failure.status == 401 and failure.kind is Kind.BAD_KEY:
            return replace(failure, kind=Kind.TOKEN_EXPIRED, message=TABLE[Kind.TOKEN_EXPIRED].sentence)
        return failure


def _unset(route: Route) -> list[str]:
    return [name for name in ("model", *OWN_STREAM, *route.unset) if name not in route.set]


def _spliced(request: Request, route: Route) -> bytes:
    """The line's own bytes; the model stands in the path, so a ``model`` in the body goes."""
    set_ = nested(route.set, request.params, _PLACES)
    unset = [name for name in _unset(route) if name in request.params]
    for name in route.unset:
        section, inner = _PLACES.get(name, ("", ""))
        given = set_.get(section, request.params.get(section))
        if isinstance(given, dict) and inner in given:
            set_[section] = {key: value for key, value in given.items() if key != inner}
    return splice(request.body, set_, unset)


def generate_verdict(body: dict[str, Any]) -> Verdict:
    """Whether a GenerateContentResponse is an answer; one good candidate is enough."""
    listed = body.get("candidates")
    candidates = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if not candidates:
        feedback = body.get("promptFeedback")
        reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
        return (Kind.CONTENT_FILTER, str(reason)) if reason else (Kind.EMPTY_ANSWER, None)
    verdicts = [_candidate(candidate) for candidate in candidates]
    good = next((verdict for verdict in verdicts if verdict[0] is None), None)
    return good or verdicts[0]


def _candidate(candidate: dict[str, Any]) -> Verdict:
    reason = candidate.get("finishReason")
    reason = reason if isinstance(reason, str) else None
    if reason in _FILTERED:
        return Kind.CONTENT_FILTER, reason
    content = candidate.get("content")
    listed = content.get("parts") if isinstance(content, dict) else None
    parts = [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
    said = any(
        not part.get("thought") and (part.get("text") or set(part) - {"text", "thoughtSignature"}) for part in parts
    )
    if reason is not None and reason not in _ENDED_WELL:
        return Kind.EMPTY_ANSWER, reason
    if said:
        called = reason == "STOP" and any("functionCall" in part for part in parts)
        return None, "tool_calls" if called else reason
    return Kind.TRUNCATED if reason == "MAX_TOKENS" else Kind.EMPTY_ANSWER, reason


def _seen(document: dict[str, Any], reply: Reply) -> Seen:
    kind, finish = generate_verdict(document)
    return Seen(
        usage=gemini_usage(document.get("usageMetadata")),
        kind=kind,
        finish=finish,
        request_id=id_of(reply, _ID_HEADERS) or text_or_none(document.get("responseId")),
        served_model=text_or_none(document.get("modelVersion")),
        tier=text_or_none(reply.headers.get("x-gemini-service-tier")),
    )


def _vectors(document: dict[str, Any], reply: Reply, request: Request, model: str) -> Answer | Failure:
    usage = gemini_usage(_embedding_counts(document))
    vectors = read_google_vectors(document, usage, model)
    request_id = id_of(reply, _ID_HEADERS)
    if not vectors.vectors:
        return judged(Seen(usage, Kind.EMPTY_ANSWER, None, request_id), reply)
    body, raw = reply.body, None
    if request.form is Form.EMBEDDINGS or "predictions" in document or "embeddings" in document:
        packed = request.params.get("encoding_format") == "base64"
        body, raw = dumps(write_vectors(vectors, request.form, packed=packed)), body
    return Answer(body, usage, None, None, request_id, reply.status, raw)


def _embedding_counts(document: dict[str, Any]) -> Any:
    """Google's count of an embedding, or the sum of Vertex's statistics."""
    listed = document.get("predictions")
    if not isinstance(listed, list):
        return document.get("usageMetadata")
    total = 0
    for one in listed:
        entry = one.get("embeddings") if isinstance(one, dict) else None
        statistics = entry.get("statistics") if isinstance(entry, dict) else None
        count = statistics.get("token_count") if isinstance(statistics, dict) else None
        if isinstance(count, float) and count.is_integer():
            count = int(count)
        if type(count) is not int:
            return None
        total += count
    return {"promptTokenCount": total}
