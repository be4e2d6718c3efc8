"""Traces: one span a line, under it one an attempt, in OpenTelemetry's words for generative AI.

Comes in: a line that has ended. Goes out: its spans, for a share of the lines, to wherever the usual ``OTEL_*`` variables say. The
spans are written after the fact from what the line's record holds anyway, so a line that is not sampled costs one comparison,
and nothing at all where traces are off, as they are by default. Which lines are sampled follows from batch and line, so
that a line asked again after a crash is sampled again. Needs the optional extra ``otel``. Called by ``shard``.

Attributes follow https://opentelemetry.io/docs/specs/semconv/gen-ai/: ids, counts, kinds and durations; no prompt, no answer.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bucketline.errors import ConfigError
from bucketline.outcome import Attempt, Outcome
from bucketline.request import Form

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["Traces", "open_traces"]

_SHARES = 1 << 32
#: wire or provider's name → ``gen_ai.provider.name`` of the conventions; another name stands for itself
_PROVIDERS = {
    "google": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "moonshot": "moonshot_ai",
}
_OPERATIONS = {
    Form.CHAT: "chat",
    Form.MESSAGES: "chat",
    Form.RESPONSES: "chat",
    Form.COMPLETIONS: "text_completion",
    Form.EMBEDDINGS: "embeddings",
    Form.EMBED: "embeddings",
    Form.GENERATE: "generate_content",
}


class Traces:
    """Writes spans for a share of the lines; ``close`` sends what is left."""

    def __init__(
        self,
        tracer: Tracer,
        share: float,
        *,
        close: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tracer = tracer
        self._below = int(share * _SHARES)
        self._clock = clock
        self.close = close

    def sampled(self, batch_id: str, line: int) -> bool:
        """Whether this line is one of the share."""
        return zlib.crc32(b"%b %d" % (batch_id.encode(), line)) < self._below

    def now_s(self) -> float:
        return self._clock()

    def line(self, batch_id: str, form: Form, outcome: Outcome, began_s: float) -> None:
        """Write the spans of a line that has just ended."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        attributes: dict[str, Any] = {
            "bucketline.batch.id": batch_id,
            "bucketline.line": outcome.line,
            "bucketline.attempts": len(outcome.attempts),
            "gen_ai.request.model": outcome.requested_model,
        }
        span = self._tracer.start_span("line", start_time=_ns(began_s), attributes=attributes, kind=SpanKind.INTERNAL)
        if outcome.code is not None:
            span.set_attribute("error.type", outcome.code.value)
            span.set_status(Status(StatusCode.ERROR))
        context = set_span_in_context(span)
        operation = _OPERATIONS[form]
        for number, attempt in enumerate(outcome.attempts, 1):
            child = self._tracer.start_span(
                f"{operation} {attempt.model}",
                context,
                kind=SpanKind.CLIENT,
                start_time=_ns(attempt.started_s),
                attributes=_attributes(attempt, operation, number),
            )
            if attempt.kind != "ok":
                child.set_status(Status(StatusCode.ERROR))
            child.end(_ns(attempt.started_s + attempt.latency_s))
        if outcome.finish_reason is not None:
            span.set_attribute("gen_ai.response.finish_reasons", [outcome.finish_reason])
        span.end(_ns(self._clock()))


def _attributes(attempt: Attempt, operation: str, number: int) -> dict[str, Any]:
    usage = attempt.usage
    found: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(attempt.provider, attempt.provider),
        "gen_ai.request.model": attempt.model,
        "gen_ai.response.model": attempt.served_model,
        "gen_ai.usage.input_tokens": None if usage is None else usage.input_tokens,
        "gen_ai.usage.output_tokens": None if usage is None else usage.output_tokens,
        "http.response.status_code": attempt.status,
        "error.type": None if attempt.kind == "ok" else attempt.kind,
        "bucketline.attempt": number,
        "bucketline.request.id": attempt.request_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def _ns(unix_s: float) -> int:
    return int(unix_s * 1e9)


def open_traces(share: float) -> Traces | None:
    """Traces for a share of the lines; None for none. Raises ConfigError where the extra is not installed."""
    if share <= 0:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError("worker.trace_share needs OpenTelemetry; install bucketline[otel].") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "bucketline"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider.get_tracer("bucketline"), share, close=provider.shutdown)
