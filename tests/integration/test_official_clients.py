"""The official clients of Anthropic, Google and AWS, pointed at the simulator, see their own provider.

They are what the simulator's wires are held to: a stream that only our adapters could read would prove nothing.
OpenAI's client is in ``test_simulator``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import pytest
from google import genai
from google.genai import errors, types

from tests.integration.simulated import KEY, alpha, config_of
from worker.simulator import Limits, Simulator, WireName

SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"name": "weather", "description": "now", "input_schema": SCHEMA}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(config_of(wire=WireName.ANTHROPIC)) as running:
        yield running


def claude(simulator: Simulator, key: str = KEY) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=simulator.root_url("alpha"), api_key=key, max_retries=0)


def gemini(simulator: Simulator, key: str = KEY) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=simulator.root_url("alpha")))


async def test_anthropics_client_reads_answers_thinking_tools_and_lists(simulator: Simulator) -> None:
    async with claude(simulator) as client:
        asked: Any = {"max_tokens": 400, "messages": [{"role": "user", "content": "why?"}]}
        message = await client.messages.create(model="small", **asked)
        assert message.content[0].text.startswith("echo ")  # type: ignore[union-attr]
        assert message.stop_reason == "end_turn"
        thought = await client.messages.create(model="small-think", **(asked | {"max_tokens": 4000}))
        assert [block.type for block in thought.content] == ["thinking", "text"]
        called = await client.messages.create(model="small", tools=[TOOL], tool_choice={"type": "any"}, **asked)
        assert called.stop_reason == "tool_use"
        assert called.content[0].input.keys() == {"city"}  # type: ignore[union-attr]
        assert [model.id async for model in client.models.list()] == ["small", "small-think"]


async def test_anthropics_client_puts_streams_together_to_what_the_books_say(simulator: Simulator) -> None:
    async with claude(simulator) as client:
        messages: Any = [{"role": "user", "content": "why?"}]
        async with client.messages.stream(model="small-think", max_tokens=4000, messages=messages) as stream:
            told = "".join([text async for text in stream.text_stream])
            final = await stream.get_final_message()
        assert told == final.content[-1].text  # type: ignore[union-attr]
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert final.usage.output_tokens == alpha(simulator)["usage"]["output_tokens"]
        forced: Any = {"type": "tool", "name": "weather"}
        async with client.messages.stream(
            model="small", max_tokens=400, messages=messages, tools=[TOOL], tool_choice=forced
        ) as stream:
            call = (await stream.get_final_message()).content[0]
        assert call.input.keys() == {"city"}  # type: ignore[union-attr]


async def test_refusals_are_anthropics_own_errors() -> None:
    async with Simulator(config_of(wire=WireName.ANTHROPIC, limits=Limits(rpm=1))) as simulator:
        asked: Any = {"model": "small", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        async with claude(simulator, "sk-wrong") as stranger, claude(simulator) as client:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.create(**asked)
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(**(asked | {"model": "none"}))
            with pytest.raises(anthropic.BadRequestError):
                await client.messages.create(**(asked | {"messages": []}))
            await client.messages.create(**asked)
            with pytest.raises(anthropic.RateLimitError) as caught:
                await client.messages.create(**asked)
            assert int(caught.value.response.headers["retry-after"]) >= 1
            with pytest.raises(anthropic.RateLimitError):
                async with client.messages.stream(**asked) as stream:
                    await stream.get_final_message()


async def test_googles_client_reads_answers_tools_schemas_vectors_and_lists(simulator: Simulator) -> None:
    client = gemini(simulator)
    models = client.aio.models
    answer = await models.generate_content(model="small-think", contents="why?")
    assert (answer.text or "").startswith("echo ")
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata.thoughts_token_count or 0) > 0
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
    calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        tool_config=types.ToolConfig(function_calling_config=calling),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    called = await models.generate_content(model="small", contents="Oslo?", config=config)
    assert [call.name for call in called.function_calls or ()] == ["weather"]
    shaped = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA)
    told = await models.generate_content(model="small", contents="Oslo?", config=shaped)
    assert '"city"' in (told.text or "")
    vectors = await models.embed_content(model="small", contents=["one", "two"])  # type: ignore[arg-type]
    assert len(vectors.embeddings or ()) == 2
    names = [model.name async for model in await models.list()]
    assert names == ["models/small", "models/small-think"]
    client.close()
    await client.aio.aclose()


async def test_googles_client_puts_streams_together_to_what_the_books_say(simulator: Simulator) -> None:
    client = gemini(simulator)
    pieces = [piece async for piece in await client.aio.models.generate_content_stream(model="small", contents="why?")]
    assert "".join(piece.text or "" for piece in pieces).startswith("echo ")
    usage = pieces[-1].usage_metadata
    assert usage is not None
    assert usage.candidates_token_count == alpha(simulator)["usage"]["output_tokens"]
    client.close()
    await client.aio.aclose()


async def test_refusals_are_googles_own_errors() -> None:
    async with Simulator(config_of(wire=WireName.GEMINI, limits=Limits(rpm=1))) as simulator:
        client, stranger = gemini(simulator), gemini(simulator, "wrong")
        with pytest.raises(errors.ClientError) as bad_key:
            await stranger.aio.models.generate_content(model="small", contents="x")
        assert bad_key.value.code == 400
        with pytest.raises(errors.ClientError) as missing:
            await client.aio.models.generate_content(model="none", contents="x")
        assert missing.value.code == 404
        await client.aio.models.generate_content(model="small", contents="x")
        with pytest.raises(errors.ClientError) as limited:
            await client.aio.models.generate_content(model="small", contents="x")
        assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
        for one in (client, stranger):
            one.close()
            await one.aio.aclose()


def aws(simulator: Simulator) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=simulator.root_url("alpha"),
        region_name="eu-west-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


async def test_awss_client_reads_converse_and_its_refusals() -> None:
    async with Simulator(config_of(wire=WireName.BEDROCK, keys={}, limits=Limits(rpm=2))) as simulator:
        client = aws(simulator)
        asked: Any = {"modelId": "small", "messages": [{"role": "user", "content": [{"text": "why?"}]}]}
        answer = await asyncio.to_thread(lambda: client.converse(**asked))
        assert answer["output"]["message"]["content"][0]["text"].startswith("echo ")
        assert answer["usage"]["outputTokens"] == alpha(simulator)["usage"]["output_tokens"]
        tools = {
            "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}],
            "toolChoice": {"any": {}},
        }
        called = await asyncio.to_thread(lambda: client.converse(toolConfig=tools, **asked))
        assert called["stopReason"] == "tool_use"
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            await asyncio.to_thread(lambda: client.converse(**asked))
        assert caught.value.response["Error"]["Code"] == "ThrottlingException"
        client.close()


def streamed(client: Any, model: str, **more: Any) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": [{"text": "why?"}]}]
    return list(client.converse_stream(modelId=model, messages=messages, **more)["stream"])


def deltas(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]


async def test_awss_client_reads_the_binary_stream_and_what_goes_wrong_in_it() -> None:
    async with Simulator(config_of(wire=WireName.BEDROCK, keys={})) as simulator:
        client = aws(simulator)
        events = await asyncio.to_thread(streamed, client, "small-think")
        texts = [delta["text"] for delta in deltas(events) if "text" in delta]
        assert "".join(texts).startswith("echo ")
        assert any("reasoningContent" in delta for delta in deltas(events))
        assert [next(iter(event)) for event in events[-2:]] == ["messageStop", "metadata"]
        assert events[-1]["metadata"]["usage"]["outputTokens"] == alpha(simulator)["usage"]["output_tokens"]
        tool = {
            "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}],
            "toolChoice": {"any": {}},
        }
        called = await asyncio.to_thread(streamed, client, "small", toolConfig=tool)
        arguments = "".join(delta["toolUse"]["input"] for delta in deltas(called))
        assert json.loads(arguments).keys() == {"city"}
        simulator.change({"weather": {"rates": {"error_200": 1.0}}})
        with pytest.raises(botocore.exceptions.EventStreamError) as caught:
            await asyncio.to_thread(streamed, client, "small")
        assert caught.value.response["Error"]["Code"] == "internalServerException"
        client.close()
