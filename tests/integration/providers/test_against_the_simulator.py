"""Every form of line over every wire, streamed and not, through real sockets, against books that the provider keeps.

The simulator is written from the providers' documents by other hands than the adapters; where both agree, and its books
say the same tokens as ours, a misreading would have to be made twice.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bucketline.failure import Failure
from bucketline.request import Form
from tests.conformance.providers.official import judge_answer
from tests.integration.simulated import KEY, alpha, config_of
from tests.samples import line, route
from worker.providers import Answer, Call, Reply, adapter_for
from worker.simulator import Simulator
from worker.transport import Transport

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LINES = {
    Form.CHAT: {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}],
    },
    Form.RESPONSES: {"model": "small", "instructions": "Be brief.", "input": "Oslo?"},
    Form.MESSAGES: {
        "model": "small",
        "max_tokens": 200,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Oslo?"}],
    },
    Form.GENERATE: {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Oslo?"}]}],
    },
}
BASES = {"openai": "/v1", "anthropic": "", "gemini": "", "vertex": "", "bedrock": ""}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(config_of()) as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport()
    yield made
    await made.close()


async def exchange(
    simulator: Simulator, transport: Transport, wire: str, request: Any, **given: Any
) -> Answer | Failure:
    way = route(wire, "small", base_url=simulator.root_url("alpha") + BASES[wire], project="p", **given)
    adapter = adapter_for(wire)
    call = adapter.call(request, way, KEY, request_id="line-1")
    assert isinstance(call, Call), call
    reply = await transport.send(call, way.provider, 20)
    assert isinstance(reply, Reply), reply
    return adapter.read(reply, request, way, key=KEY)


@pytest.mark.parametrize("stream", ["never", "always"])
@pytest.mark.parametrize("wire", BASES)
@pytest.mark.parametrize("form", LINES)
async def test_a_line_of_any_form_is_answered_over_any_wire(
    simulator: Simulator, transport: Transport, form: Form, wire: str, stream: str
) -> None:
    result = await exchange(simulator, transport, wire, line(form, LINES[form]), stream=stream)
    assert isinstance(result, Answer), result
    judge_answer(form, json.loads(result.body))
    assert result.finish_reason == "stop"
    booked = alpha(simulator)
    assert result.usage is not None
    assert (result.usage.input_tokens, result.usage.output_tokens) == (
        booked["usage"]["input_tokens"],
        booked["usage"]["output_tokens"],
    )


@pytest.mark.parametrize("wire", BASES)
async def test_an_answer_that_must_fit_a_schema_fits_it_over_any_wire(
    simulator: Simulator, transport: Transport, wire: str
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
    request = line(Form.CHAT, {**LINES[Form.CHAT], "response_format": wanted})
    result = await exchange(simulator, transport, wire, request)
    assert isinstance(result, Answer), result
    assert "city" in json.loads(json.loads(result.body)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("stream", ["never", "always"])
@pytest.mark.parametrize("wire", BASES)
async def test_a_tool_is_called_over_any_wire(
    simulator: Simulator, transport: Transport, wire: str, stream: str
) -> None:
    tool = {"type": "function", "function": {"name": "weather", "description": "now", "parameters": SCHEMA}}
    request = line(Form.CHAT, {**LINES[Form.CHAT], "tools": [tool], "tool_choice": "required"})
    result = await exchange(simulator, transport, wire, request, stream=stream)
    assert isinstance(result, Answer), result
    choice = json.loads(result.body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
    json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize("wire", ["openai", "gemini", "vertex"])
@pytest.mark.parametrize("text", ["alpha", ["alpha", "beta"]])
async def test_embeddings_over_the_wires_that_have_them(
    simulator: Simulator, transport: Transport, wire: str, text: Any
) -> None:
    result = await exchange(simulator, transport, wire, line(Form.EMBEDDINGS, {"model": "small", "input": text}))
    assert isinstance(result, Answer), result
    judge_answer(Form.EMBEDDINGS, json.loads(result.body))
    assert result.usage is not None
    assert result.usage.input_tokens == alpha(simulator)["usage"]["input_tokens"]


@pytest.mark.parametrize("wire", BASES)
async def test_a_wrong_key_is_a_bad_key_over_any_wire(simulator: Simulator, transport: Transport, wire: str) -> None:
    way = route(wire, "small", base_url=simulator.root_url("alpha") + BASES[wire], project="p")
    adapter, request = adapter_for(wire), line(Form.CHAT, LINES[Form.CHAT])
    call = adapter.call(request, way, "sk-wrong-key-123")
    assert isinstance(call, Call)
    reply = await transport.send(call, way.provider, 20)
    assert isinstance(reply, Reply)
    result = adapter.read(reply, request, way, key="sk-wrong-key-123")
    assert isinstance(result, Failure)
    assert result.kind.value in {"bad_key", "token_expired"}
    assert "sk-wrong" not in result.message
