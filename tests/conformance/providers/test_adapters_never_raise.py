"""Whatever comes back from the network, an adapter answers with an ``Answer`` or a ``Failure``.

An exception here would be a line lost to a proxy's whim, or a worker stopped by it.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from bucketline.failure import Failure
from bucketline.request import Form, Request
from tests.samples import FIXTURES, Sample, line, route, samples
from worker.providers import Answer, Reply, adapter_for
from worker.providers.wire import NOTHING_LEFT
from worker.simulator.wires.frames import EVENT_STREAM, frame

WIRES = ("openai", "anthropic", "gemini", "vertex", "bedrock")
KEY = "key-that-must-not-leak-0123456789"
STREAMS = [path.read_bytes() for path in sorted(FIXTURES.glob("*/*.sse.txt"))]
BODIES: list[Sample] = [one for one in samples("response") if "body" in one.document]
LINES = {
    Form.CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    Form.RESPONSES: {"model": "m", "input": "hi"},
    Form.COMPLETIONS: {"model": "m", "prompt": "hi"},
    Form.EMBEDDINGS: {"model": "m", "input": "hi"},
    Form.MESSAGES: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    Form.GENERATE: {"contents": [{"parts": [{"text": "hi"}]}]},
    Form.EMBED: {"content": {"parts": [{"text": "hi"}]}},
}
forms = st.sampled_from(list(Form))
statuses = st.one_of(
    st.sampled_from([200, 200, 200, 201, 302, 400, 401, 403, 404, 429, 500, 529]), st.integers(100, 999)
)
odd = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**19) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
EVENTS = ["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata", "odd"]
MEMBERS = [
    "role", "start", "delta", "contentBlockIndex", "toolUse", "text", "reasoningContent", "citation", "stopReason",
    "usage", "input", "signature", "error",
]  # fmt: skip
odd_frames = st.dictionaries(
    st.sampled_from(MEMBERS), st.one_of(odd, st.dictionaries(st.sampled_from(MEMBERS), odd, max_size=3)), max_size=4
)
headers = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "date", "content-type", "x-ratelimit-reset", "x-amzn-errortype"]),
    st.one_of(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
        st.sampled_from(
            ["1e400", "nan", "-5", "Wed, 25 Nov 2026 12:00:00 GMT", "text/event-stream", "text/html", "9" * 400]
        ),
    ),
    max_size=4,
)
few = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(wire: str, form: Form, answer: Reply) -> None:
    request: Request = line(form, LINES[form])
    result = adapter_for(wire).read(answer, request, route(wire, "m"), key=KEY)
    if isinstance(result, Answer):
        json.loads(result.body)
        assert isinstance(result.finish_reason, str | None)
    else:
        assert isinstance(result, Failure)
        assert result.message
        assert len(result.message) < 600
        assert KEY not in result.message
        assert result.retry_after_s is None or 0 <= result.retry_after_s < 40 * 86400
        if result.body is not None:
            json.loads(result.body)
            assert answer.status == 200 or KEY.encode() not in result.body


@few
@given(st.sampled_from(WIRES), forms, statuses, headers, st.binary(max_size=200))
@example("openai", Form.CHAT, 200, {}, b"\xef\xbb\xbf{}")
@example("openai", Form.CHAT, 200, {}, b'{"choices":[{"message":{"content":"\\ud800"},"finish_reason":"stop"}]}')
@example("openai", Form.CHAT, 429, {"retry-after": "Wed, 99 Foo 2026"}, b"[[[[")
def test_any_bytes(wire: str, form: Form, status: int, named: dict[str, str], body: bytes) -> None:
    check(wire, form, Reply(status, CIMultiDict(named), body))


@few
@given(st.sampled_from(WIRES), forms, statuses, headers, odd)
def test_any_json(wire: str, form: Form, status: int, named: dict[str, str], body: Any) -> None:
    check(wire, form, Reply(status, CIMultiDict(named), json.dumps(body).encode()))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(BODIES), forms, statuses, st.data())
def test_a_real_body_with_one_member_gone_odd(one: Sample, form: Form, status: int, data: st.DataObject) -> None:
    body = copy.deepcopy(one.document["body"])
    places = list(walk(body))
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(odd)
    raw = json.dumps(body).replace("sk-te", KEY).encode()
    for wire in {one.wire, data.draw(st.sampled_from(WIRES))}:
        check(wire, form, Reply(status, CIMultiDict(one.document["headers"]), raw))


def walk(value: Any) -> Any:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield value, key
        yield from walk(inner)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WIRES), forms, st.sampled_from(STREAMS), st.data())
def test_a_stream_cut_or_bitten_anywhere(wire: str, form: Form, stream: bytes, data: st.DataObject) -> None:
    cut = stream[: data.draw(st.integers(0, len(stream)))]
    at = data.draw(st.integers(0, max(0, len(cut) - 1)))
    bitten = cut[:at] + data.draw(st.binary(max_size=3)) + cut[at + data.draw(st.integers(0, 5)) :]
    check(wire, form, Reply(200, CIMultiDict({"content-type": "text/event-stream"}), bitten))


@few
@given(forms, st.lists(st.tuples(st.sampled_from(EVENTS), odd_frames), max_size=6), st.binary(max_size=40))
def test_frames_of_any_name_and_content(form: Form, told: list[tuple[str, Any]], rest: bytes) -> None:
    """Whole frames with odd insides, then bytes that are none."""
    body = b"".join([frame(name, value) for name, value in told]) + rest
    check("bedrock", form, Reply(200, CIMultiDict({"content-type": EVENT_STREAM}), body))


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_line_of_any_shape_is_a_call_or_a_named_refusal(wire: str, form: Form, data: st.DataObject) -> None:
    """A body may be wrong in ways that only a provider would tell; writing it for another wire must not be the place
    where that blows up.
    """
    params = copy.deepcopy(LINES[form])
    params.update(data.draw(st.dictionaries(st.sampled_from(WORDS), odd, max_size=4)))
    holder, key = data.draw(st.sampled_from(list(walk(params))))
    holder[key] = data.draw(odd)
    request = line(form, params)
    for dropping in (False, True):
        way = route(wire, "m", region="eu-west-1", project="p", drop=dropping)
        adapter = adapter_for(wire)
        call, names = adapter.call(request, way, KEY), adapter.refused(request, way)
        assert isinstance(call, Failure) == (bool(names) and (not dropping or NOTHING_LEFT in names))
        if not isinstance(call, Failure):
            json.loads(call.body)


WORDS = [
    "messages", "system", "tools", "tool_choice", "response_format", "stop", "temperature", "max_tokens", "reasoning",
    "thinking", "metadata", "input", "instructions", "text", "contents", "generationConfig", "systemInstruction",
    "toolConfig", "output_config", "stream", "n", "seed", "logprobs", "content", "dimensions", "top_p", "user",
]  # fmt: skip
