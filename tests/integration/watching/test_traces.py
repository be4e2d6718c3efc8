"""Traces: one span a line, one an attempt under it, in the conventions' words, without a word of prompt or answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from bucketline.errors import ConfigError
from bucketline.settings import Settings
from tests.integration.watching.line import LIMIT_S, running
from worker.simulator import Fault, Phase, PhaseKind, Weather
from worker.traces import Traces, open_traces


@pytest.fixture
def exporter() -> Iterator[tuple[InMemorySpanExporter, Tracer]]:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    yield kept, provider.get_tracer("test")
    provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_a_line_that_failed_once_leaves_its_span_and_two_under_it(
    redis_url: str, tmp_path: Path, exporter: tuple[InMemorySpanExporter, Tracer]
) -> None:
    kept, tracer = exporter
    broken = Phase(PhaseKind.WEATHER, after_calls=0, for_s=0.3, weather=Weather(rates={Fault.ERROR_500: 1.0}))
    retry = {"base_delay_s": 2.0, "max_delay_s": 2.0}
    async with running(redis_url, tmp_path, simulated={"phases": (broken,)}, retry=retry) as line:
        assert line.engine is not None
        line.engine.runner.traces = Traces(tracer, 1.0)
        batch = await line.submit(1)
        await line.producer.wait(batch, timeout_s=LIMIT_S)
    spans = kept.get_finished_spans()
    (root,) = [span for span in spans if span.name == "line"]
    calls = [span for span in spans if span.name == "chat small"]
    assert len(calls) >= 2
    assert all(span.parent is not None and span.parent.span_id == root.context.span_id for span in calls)
    assert all(span.kind is SpanKind.CLIENT for span in calls)
    assert attributes(root)["bucketline.batch.id"] == batch.id
    assert attributes(calls[0])["error.type"] == "server_error"
    assert calls[0].status.status_code is StatusCode.ERROR
    good = attributes(calls[-1])
    assert (good["gen_ai.operation.name"], good["gen_ai.provider.name"]) == ("chat", "alpha")
    assert (good["gen_ai.request.model"], good["http.response.status_code"]) == ("small", 200)
    assert isinstance(good["gen_ai.usage.output_tokens"], int)
    assert root.start_time is not None
    assert all(root.start_time <= (span.start_time or 0) <= (root.end_time or 0) for span in calls)
    assert not [span for span in spans if "hello" in span.to_json()]


def test_a_share_of_the_lines_is_sampled_and_always_the_same(exporter: tuple[InMemorySpanExporter, Tracer]) -> None:
    _, tracer = exporter
    tenth = Traces(tracer, 0.1)
    chosen = [line for line in range(10_000) if tenth.sampled("batch_1", line)]
    assert 800 < len(chosen) < 1200
    assert chosen == [line for line in range(10_000) if Traces(tracer, 0.1).sampled("batch_1", line)]
    assert not any(Traces(tracer, 0.0).sampled("batch_1", line) for line in range(1000))
    assert all(Traces(tracer, 1.0).sampled("batch_1", line) for line in range(1000))


def test_traces_are_off_unless_asked_for_and_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().worker.trace_share == 0
    assert open_traces(0.0) is None
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"install bucketline\[otel\]"):
        open_traces(0.5)
