"""The simulator over real sockets: judged by the official SDK and by what its own books say."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from tests.integration.simulated import KEY, alpha, ask, config_of, simulated
from worker.simulator import Limits, Phase, PhaseKind, Simulator, Weather, WireName

_TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
_FORM: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "schema": {"type": "object", "properties": {"label": {"enum": ["pos"]}}, "required": ["label"]},
    },
}


def _client(simulator: Simulator, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=simulator.base_url("alpha"), api_key=key, max_retries=0)


async def test_the_official_sdk_reads_every_answer() -> None:
    async with Simulator(config_of()) as simulator, _client(simulator) as client:
        chat = await client.chat.completions.create(**ask("tag:x1 hello", n=2))
        assert [choice.message.content[:8] for choice in chat.choices] == ["echo x1 "] * 2  # type: ignore[index]
        called = await client.chat.completions.create(**ask("the weather?"), tools=_TOOLS)
        assert called.choices[0].message.tool_calls[0].function.name == "weather"  # type: ignore[index,union-attr]
        told = await client.chat.completions.create(**ask("well?"), response_format=_FORM)
        assert told.choices[0].message.content == '{"label":"pos"}'
        thought = await client.responses.create(model="small-think", input="why?")
        assert thought.output_text.startswith("echo ")
        assert thought.usage is not None
        assert thought.usage.output_tokens_details.reasoning_tokens > 0
        cut = await client.responses.create(model="small", input="why?", max_output_tokens=2)
        assert (cut.status, len(cut.output_text)) == ("incomplete", 8)
        vectors = await client.embeddings.create(model="small", input=["one", "two"], dimensions=6)
        assert [len(item.embedding) for item in vectors.data] == [6, 6]
        old = await client.completions.create(model="small", prompt="once upon")
        assert old.choices[0].finish_reason == "length"
        assert [model.id async for model in client.models.list()] == ["small", "small-think"]


async def test_the_official_sdk_reads_streams_and_they_say_what_the_whole_answer_says() -> None:
    async with Simulator(config_of(weather=Weather(latency_s=0.02))) as simulator, _client(simulator) as client:
        text, usage = "", None
        options: Any = {"include_usage": True}
        async for chunk in await client.chat.completions.create(**ask("why?"), stream=True, stream_options=options):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            usage = chunk.usage or usage
        assert text.startswith("echo ")
        assert usage is not None
        assert usage.completion_tokens == alpha(simulator)["usage"]["output_tokens"]
        async with client.chat.completions.stream(**ask("the weather?"), tools=_TOOLS) as stream:
            async for _ in stream:
                pass
            call = (await stream.get_final_completion()).choices[0].message.tool_calls[0]  # type: ignore[index]
            assert "city" in orjson.loads(call.function.arguments)
        async with client.responses.stream(model="small-think", input="why?") as events:
            async for _ in events:
                pass
            assert (await events.get_final_response()).output_text.startswith("echo ")


async def test_refusals_are_the_sdks_own_errors() -> None:
    async with Simulator(config_of(limits=Limits(rpm=1))) as simulator, _client(simulator) as client:
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="none", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="small", messages=[])
        async with _client(simulator, "sk-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.chat.completions.create(**ask("x"))
        await client.chat.completions.create(**ask("x"))
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**ask("x"))
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
        assert alpha(simulator)["by_fault"] == {"invalid": 1, "limit:requests": 1, "model": 1, "unauthorised": 1}


async def test_the_books_equal_what_was_sent_and_answered() -> None:
    """Compared with the usage that the client was told, call by call, and with the bill worked out by hand."""
    async with simulated(config_of()) as (simulator, caller):
        answers = await asyncio.gather(*(caller.post(ask(f"question {number}")) for number in range(300)))
        told = [orjson.loads(body)["usage"] for _, body in answers]
        books = alpha(simulator)
        assert books["calls"] == books["delivered"] == 300
        assert books["usage"]["input_tokens"] == sum(usage["prompt_tokens"] for usage in told)
        assert books["usage"]["output_tokens"] == sum(usage["completion_tokens"] for usage in told)
        assert books["nanousd"] == sum(
            1000 * usage["prompt_tokens"] + 3000 * usage["completion_tokens"] for usage in told
        )
        assert books["lost"]["calls"] == 0


async def test_no_window_holds_more_than_the_limit_while_a_client_pushes() -> None:
    """The clock is the test's: every call comes at a known time, so what is let in can be counted by hand."""
    now_ns = 0
    async with simulated(config_of(limits=Limits(rpm=5)), clock_ns=lambda: now_ns) as (simulator, caller):
        let_in = []
        for second in range(0, 180, 7):
            now_ns = second * 10**9
            statuses = [(await caller.post(ask(f"{second} {number}")))[0] for number in range(3)]
            let_in += [second] * statuses.count(200)
        assert all(sum(at - 60 < other <= at for other in let_in) <= 5 for at in range(240))
        assert len(let_in) == 15
        assert alpha(simulator)["limits"]["*"]["requests"]["max_in_window"] == 5


async def test_the_other_wires_answer_and_refuse_in_their_own_shape() -> None:
    async with simulated(config_of(limits=Limits(rpm=3))) as (_, caller):
        messages = [{"role": "user", "content": "why?"}]
        _, body = await caller.post({"model": "small", "max_tokens": 9, "messages": messages}, "/v1/messages")
        assert orjson.loads(body)["stop_reason"] == "max_tokens"
        contents = {"contents": [{"role": "user", "parts": [{"text": "why?"}]}]}
        _, body = await caller.post(contents, "/v1beta/models/small:generateContent")
        assert orjson.loads(body)["candidates"][0]["finishReason"] == "STOP"
        converse = {"messages": [{"role": "user", "content": [{"text": "why?"}]}]}
        _, body = await caller.post(converse, "/model/small/converse")
        assert orjson.loads(body)["stopReason"] == "end_turn"
        status, body = await caller.post({"model": "small", "max_tokens": 9, "messages": messages}, "/v1/messages")
        assert (status, orjson.loads(body)["error"]["type"]) == (429, "rate_limit_error")
        status, body = await caller.post(contents, "/v1beta/models/small:generateContent")
        assert "retryDelay" in orjson.loads(body)["error"]["details"][1]
        status, body = await caller.post(converse, "/model/small/converse")
        assert (status, "message" in orjson.loads(body)) == (429, True)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1beta/models/small:streamGenerateContent?alt=sse"])
async def test_the_other_wires_stream(path: str) -> None:
    body = {
        "model": "small", "max_tokens": 40, "stream": True, "messages": [{"role": "user", "content": "why?"}],
        "contents": [{"role": "user", "parts": [{"text": "why?"}]}],
    }  # fmt: skip
    async with simulated(config_of(weather=Weather(latency_s=0.02))) as (_, caller):
        _, answer = await caller.post(body, path)
        values = [orjson.loads(line[6:]) for line in answer.splitlines() if line.startswith(b"data: ")]
        assert values[-1].get("type") == "message_stop" or values[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_an_account_runs_dry_and_is_topped_up_over_http() -> None:
    config = config_of(phases=(Phase(PhaseKind.EXHAUSTED, after_calls=1),))
    async with simulated(config) as (simulator, caller), aiohttp.ClientSession() as session:
        assert [(await caller.post(ask("x")))[0] for _ in range(2)] == [200, 429]
        root = simulator.root_url("alpha")
        async with session.post(f"{root}/__admin", json={"provider": "alpha", "top_up_usd": "5"}) as answer:
            assert answer.status == 200
        assert (await caller.post(ask("x")))[0] == 200
        async with session.post(f"{root}/__admin", json={"weather": {"latencys": 1}}) as answer:
            assert (await answer.json())["error"] == "alpha.weather.latencys: there is no such setting."
        async with session.get(f"{root}/__books?calls=1") as answer:
            assert [call["status"] for call in (await answer.json())["providers"]["alpha"]["call_list"]] == [
                200,
                429,
                200,
            ]


async def test_providers_can_share_a_port_under_their_names() -> None:
    async with simulated(config_of(one_port=0)) as (simulator, caller):
        assert simulator.base_url("alpha").endswith("/alpha/v1")
        assert (await caller.post(ask("x")))[0] == 200


async def test_the_base_address_fits_the_wire() -> None:
    async with Simulator(config_of(wire=WireName.ANTHROPIC)) as simulator:
        assert simulator.base_url("alpha") == simulator.root_url("alpha")
