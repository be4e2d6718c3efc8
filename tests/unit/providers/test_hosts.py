"""The hosts of OpenAI's wire that differ, each by name, with the one thing that costs answers or money there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bucketline.failure import Failure, Kind
from bucketline.request import Form
from tests.samples import chat_line, line, reply, route, sample
from worker.providers import Answer, Call, adapter_for

OPENAI = adapter_for("openai")


def sent(host: str, model: str, request: Any = None, **given: Any) -> dict[str, Any]:
    call = OPENAI.call(request or chat_line(), route("openai", model, host, preset=host or None, **given), "k")
    assert isinstance(call, Call), call
    body: dict[str, Any] = json.loads(call.body)
    return body


def refused(host: str, model: str, **params: Any) -> tuple[str, ...]:
    return OPENAI.refused(chat_line(**params), route("openai", model, host, preset=host or None))


def test_llm_api_is_not_sent_what_it_would_drop_without_a_word() -> None:
    """It ignores these, and the answer would be to another question."""
    asked = {"stop": ["END"], "seed": 1, "n": 2, "parallel_tool_calls": False, "logprobs": True}
    assert set(refused("llmapi", "moonshot/kimi-k2-thinking", **asked)) == set(asked)
    assert refused("llmapi", "gpt-4o", n=1, logprobs=False, stop=None) == ()


def test_llm_api_gets_its_cap_under_the_name_it_reads() -> None:
    body = sent("llmapi", "gpt-4o", chat_line(max_completion_tokens=77))
    assert (body["max_tokens"], "max_completion_tokens" in body) == (77, False)


def test_llm_api_may_not_change_the_provider_behind_our_back() -> None:
    call = OPENAI.call(chat_line(), route("openai", "gpt-4o", "llmapi"), "k", request_id="line-7")
    assert isinstance(call, Call)
    assert call.headers["X-No-Fallback"] == "true"
    assert call.headers["x-request-id"] == "line-7"


def test_llm_api_is_priced_by_what_answered_and_by_its_own_charge() -> None:
    one = sample("llmapi/res.chat.fallback_used")
    result = OPENAI.read(one.reply, chat_line(), route("openai", "moonshot/kimi-k2-thinking", "llmapi"))
    assert isinstance(result, Answer)
    assert result.served_model == "groq/kimi-k2-thinking"
    paid = sample("llmapi/res.chat.stop")
    result = OPENAI.read(paid.reply, chat_line(), route("openai", "moonshot/kimi-k2-thinking", "llmapi"))
    assert isinstance(result, Answer)
    assert result.reported_nanousd == 1_289_200


def test_llm_api_errors_dressed_as_500_are_told_apart() -> None:
    """One is worth another try, the other never will be."""
    kinds = []
    for name in ("llmapi/err.500.upstream_429", "llmapi/err.500.gateway_error"):
        result = OPENAI.read(sample(name).reply, chat_line(), route("openai", "m", "llmapi"))
        assert isinstance(result, Failure)
        kinds.append(result.kind)
    assert kinds == [Kind.SERVER_ERROR, Kind.UPSTREAM_REFUSED]


@pytest.mark.parametrize("model", ["kimi-k2.5", "kimi-k2.6", "kimi-k2.7-code", "kimi-k3", "kimi-k3.1-pro"])
@pytest.mark.parametrize("host", ["moonshot", "moonshot-cn"])
def test_newer_kimi_models_refuse_a_temperature_and_so_do_we(host: str, model: str) -> None:
    assert refused(host, model, temperature=0.2, top_p=0.5) == ("temperature", "top_p")


def test_a_temperature_that_is_the_default_anyway_is_left_out_for_kimi() -> None:
    assert refused("moonshot", "kimi-k3", temperature=1.0) == ()
    assert "temperature" not in sent("moonshot", "kimi-k3", chat_line(temperature=1.0))


def test_kimi_k2_thinking_takes_its_temperature() -> None:
    assert refused("moonshot", "kimi-k2-thinking", temperature=1.0) == ()
    assert sent("moonshot", "kimi-k2-thinking", chat_line(temperature=1.0))["temperature"] == 1.0


def test_kimi_gets_a_reasoning_with_each_call_of_a_tool() -> None:
    """A history from another provider has none, and Kimi refuses it with 400."""
    call = {"id": "w:0", "type": "function", "function": {"name": "w", "arguments": "{}"}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    body = sent("moonshot", "kimi-k2.6", chat_line(messages=messages))
    assert body["messages"][1]["reasoning_content"] == " "
    messages[1]["reasoning_content"] = "mine"
    assert sent("moonshot", "kimi-k2.6", chat_line(messages=messages))["messages"] == messages


def test_kimi_fetches_no_image_from_the_web() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    messages = [{"role": "user", "content": [image]}]
    assert refused("moonshot", "kimi-k2.6", messages=messages) == ("image by address",)


def test_moonshots_cached_tokens_at_the_top_are_counted_once() -> None:
    for name in ("moonshot/res.chat.k2_thinking", "moonshot/res.chat.cached_details"):
        one = sample(name)
        result = OPENAI.read(one.reply, chat_line(), route("openai", "kimi-k2.6", "moonshot"))
        assert result.usage is not None
        assert result.usage.cached_input_tokens == one.expect["usage"]["cached"]


@pytest.mark.parametrize(
    ("name", "scope"),
    [("concurrency", "concurrency"), ("rpm", "requests"), ("tpd", "day"), ("engine_overloaded", None)],
)
def test_moonshots_429s_say_which_limit(name: str, scope: str | None) -> None:
    result = OPENAI.read(sample(f"moonshot/err.429.{name}").reply, chat_line(), route("openai", "kimi-k3", "moonshot"))
    assert isinstance(result, Failure)
    assert result.scope == scope


def test_a_kimi_that_moonshot_has_retired_may_be_answered_elsewhere() -> None:
    result = OPENAI.read(
        sample("moonshot/err.404.model").reply, chat_line(), route("openai", "kimi-k2-thinking", "moonshot")
    )
    assert isinstance(result, Failure)
    assert (result.kind, result.row.retry, result.row.fall_back) == (Kind.MODEL_MISSING, False, True)


def test_openais_reasoning_models_get_their_cap_under_the_new_name() -> None:
    assert sent("openai", "gpt-5.4-mini", chat_line(max_tokens=9))["max_completion_tokens"] == 9
    assert sent("openai", "gpt-4.1", chat_line(max_tokens=9))["max_tokens"] == 9


def test_a_cap_under_both_names_means_the_new_one() -> None:
    assert sent("openai", "gpt-5.4", chat_line(max_tokens=9, max_completion_tokens=5))["max_completion_tokens"] == 5


def test_openais_o_models_refuse_sampling() -> None:
    assert set(refused("openai", "o3-mini", temperature=0, stop=["a"])) == {"temperature", "stop"}


def test_deepseek_has_no_json_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    assert refused("deepseek", "deepseek-chat", response_format=wanted) == ("response_format.json_schema",)
    assert refused("deepseek", "deepseek-chat", response_format={"type": "json_object"}) == ()


def test_mistral_takes_a_seed_under_its_own_name_and_no_stream_options() -> None:
    body = sent("mistral", "mistral-large", chat_line(seed=7), stream="always")
    assert (body["random_seed"], "seed" in body, "stream_options" in body) == (7, False, False)


def test_openrouters_charge_is_taken_from_the_answer() -> None:
    one = sample("compat/openrouter.res.chat")
    result = OPENAI.read(one.reply, chat_line(), route("openai", "m", "openrouter"))
    assert isinstance(result, Answer)
    assert (result.reported_nanousd, result.request_id) == (140_000, "gen-1")


def test_a_charge_from_a_host_nobody_knows_is_in_no_known_coin() -> None:
    one = sample("compat/openrouter.res.chat")
    result = OPENAI.read(one.reply, chat_line(), route("openai", "m"))
    assert isinstance(result, Answer)
    assert result.reported_nanousd is None


def test_geminis_openai_surface_counts_thinking_in_the_total_alone() -> None:
    one = sample("gemini/res.openai_compat")
    result = OPENAI.read(one.reply, chat_line(), route("openai", "m", "google-openai"))
    assert result.usage is not None
    assert (result.usage.output_tokens, result.usage.reasoning_tokens) == (31, 30)


def test_a_responses_line_goes_out_as_chat_where_a_host_has_chat_alone() -> None:
    request = line(Form.RESPONSES, {"model": "m", "input": "hi", "max_output_tokens": 5})
    way = route("openai", "deepseek-chat", "deepseek")
    call = OPENAI.call(request, way, "k")
    assert isinstance(call, Call)
    assert call.url.endswith("/chat/completions")
    answer = {"id": "c", "model": "d", "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
    result = OPENAI.read(reply(200, answer), request, way)
    assert isinstance(result, Answer)
    assert json.loads(result.body)["output"][0]["content"][0]["text"] == "ok"


def test_the_rules_of_a_host_hold_by_its_address_too() -> None:
    """Whoever writes base_url instead of the preset's name gets the same care."""
    assert OPENAI.refused(chat_line(seed=1), route("openai", "m", "llmapi", preset=None)) == ("seed",)


def test_a_host_that_nobody_knows_is_sent_what_the_line_says() -> None:
    odd = {"seed": 1, "n": 3, "logit_bias": {"1": 2}, "max_tokens": 3, "guided_json": {}, "temperature": 1.5}
    body = sent("", "alpha-small", chat_line(**odd))
    assert {name: body[name] for name in odd} == odd


def test_what_a_route_unsets_is_not_refused_and_what_it_sets_is() -> None:
    request = chat_line(temperature=0.2)
    way = route("openai", "kimi-k3", "moonshot", unset=("temperature",))
    assert OPENAI.refused(request, way) == ()
    way = route("openai", "kimi-k3", "moonshot", set={"top_p": 0.3}, unset=("temperature",))
    assert OPENAI.refused(request, way) == ("top_p",)


def test_a_route_that_drops_sends_the_rest() -> None:
    body = sent("moonshot", "kimi-k3", chat_line(temperature=0.2, max_tokens=5), drop=True)
    assert ("temperature" in body, body["max_completion_tokens"]) == (False, 5)
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    assert "response_format" not in sent("deepseek", "deepseek-chat", chat_line(response_format=wanted), drop=True)
