"""Every recorded kind of reply becomes the answer, or the row of the failure table, that the provider means by it.

A wrong row costs money (retrying what will never work), or answers (giving up on what heals), so each reply is named
here with its row.
"""

from __future__ import annotations

import pytest

from bucketline.failure import TABLE, Effect, Failure, Kind, Wait
from bucketline.usage import Usage
from tests.samples import Sample, line, route, samples
from worker.providers import Answer, adapter_for

K = Kind
#: each refusal and its row
ROWS = {
    "anthropic/err.400.credit_balance": K.ACCOUNT_EXHAUSTED,
    "anthropic/err.400.invalid": K.BAD_REQUEST,
    "anthropic/err.400.on_hold": K.ACCOUNT_EXHAUSTED,
    "anthropic/err.400.usage_limit": K.ACCOUNT_EXHAUSTED,
    "anthropic/err.401.auth": K.BAD_KEY,
    "anthropic/err.402.billing": K.ACCOUNT_EXHAUSTED,
    "anthropic/err.403.permission": K.NOT_PERMITTED,
    "anthropic/err.404.model": K.MODEL_MISSING,
    "anthropic/err.413.too_large": K.BAD_REQUEST,
    "anthropic/err.429.ramp": K.RATE_LIMIT,
    "anthropic/err.429.rate_limit": K.RATE_LIMIT,
    "anthropic/err.429.spend_limit": K.ACCOUNT_EXHAUSTED,
    "anthropic/err.500.api": K.SERVER_ERROR,
    "anthropic/err.504.timeout": K.SERVER_ERROR,
    "anthropic/err.529.overloaded": K.OVERLOAD,
    "anthropic/res.message.pause_turn": K.EMPTY_ANSWER,
    "anthropic/res.message.refusal": K.CONTENT_FILTER,
    "azure/err.400.content_filter": K.CONTENT_FILTER,
    "azure/err.401.key": K.BAD_KEY,
    "azure/err.404.deployment": K.MODEL_MISSING,
    "azure/err.429.tokens": K.RATE_LIMIT,
    "azure/err.apim_401": K.BAD_KEY,
    "azure/res.chat.content_filter": K.CONTENT_FILTER,
    "bedrock/err.400.service_quota": K.TOO_LARGE_FOR_LIMIT,
    "bedrock/err.400.validation": K.BAD_REQUEST,
    "bedrock/err.403.access": K.NOT_PERMITTED,
    "bedrock/err.404.model": K.MODEL_MISSING,
    "bedrock/err.408.timeout": K.SERVER_ERROR,
    "bedrock/err.424.model_error": K.SERVER_ERROR,
    "bedrock/err.429.not_ready": K.OVERLOAD,
    "bedrock/err.429.throttling": K.RATE_LIMIT,
    "bedrock/err.503.unavailable": K.OVERLOAD,
    "bedrock/res.converse.guardrail": K.CONTENT_FILTER,
    "compat/deepseek.err.402": K.ACCOUNT_EXHAUSTED,
    "compat/deepseek.res.insufficient_resource": K.ERROR_IN_200,
    "compat/groq.err.413": K.TOO_LARGE_FOR_LIMIT,
    "compat/groq.err.429": K.RATE_LIMIT,
    "compat/groq.err.498": K.OVERLOAD,
    "compat/litellm.err.429": K.RATE_LIMIT,
    "compat/litellm.err.budget": K.ACCOUNT_EXHAUSTED,
    "compat/llamacpp.err.503": K.OVERLOAD,
    "compat/minimax.res.200_base_resp": K.ACCOUNT_EXHAUSTED,
    "compat/mistral.err.422": K.BAD_REQUEST,
    "compat/ollama.err.404": K.MODEL_MISSING,
    "compat/ollama.err.native": K.MODEL_MISSING,
    "compat/openrouter.err.402": K.ACCOUNT_EXHAUSTED,
    "compat/openrouter.err.402_in_flight": K.OVERLOAD,
    "compat/openrouter.err.403_moderation": K.CONTENT_FILTER,
    "compat/openrouter.res.200_error": K.ERROR_IN_200,
    "compat/openrouter.res.choice_error": K.ERROR_IN_200,
    "compat/sglang.res.abort": K.ERROR_IN_200,
    "compat/vllm.err.400": K.CONTEXT_TOO_LONG,
    "compat/vllm.err.flat_404": K.MODEL_MISSING,
    "compat/vllm.res.null_content": K.TRUNCATED,
    "edge/choices_empty.200": K.EMPTY_ANSWER,
    "edge/empty.200": K.CUT_BODY,
    "edge/html.200": K.NOT_JSON,
    "edge/html.403": K.NOT_PERMITTED,
    "edge/html.502": K.SERVER_ERROR,
    "edge/html.503": K.OVERLOAD,
    "edge/html.520": K.SERVER_ERROR,
    "edge/html.524": K.TIMEOUT_AFTER_SEND,
    "edge/plain.429": K.RATE_LIMIT,
    "edge/truncated.200": K.CUT_BODY,
    "gemini/err.400.api_key": K.BAD_KEY,
    "gemini/err.400.invalid": K.BAD_REQUEST,
    "gemini/err.400.location": K.NOT_PERMITTED,
    "gemini/err.402.prepay": K.ACCOUNT_EXHAUSTED,
    "gemini/err.403.denied": K.BAD_KEY,
    "gemini/err.404.model": K.MODEL_MISSING,
    "gemini/err.429.list_wrapped": K.RATE_LIMIT,
    "gemini/err.429.rpd": K.DAILY_QUOTA,
    "gemini/err.429.rpm": K.RATE_LIMIT,
    "gemini/err.500.internal": K.SERVER_ERROR,
    "gemini/err.503.overloaded": K.OVERLOAD,
    "gemini/err.504.deadline": K.SERVER_ERROR,
    "gemini/res.generate.empty_stop": K.EMPTY_ANSWER,
    "gemini/res.generate.malformed_call": K.EMPTY_ANSWER,
    "gemini/res.generate.max_tokens_no_parts": K.TRUNCATED,
    "gemini/res.generate.prompt_blocked": K.CONTENT_FILTER,
    "gemini/res.generate.safety_stop": K.CONTENT_FILTER,
    "llmapi/err.400.model": K.MODEL_MISSING,
    "llmapi/err.401.key": K.BAD_KEY,
    "llmapi/err.402.credits": K.ACCOUNT_EXHAUSTED,
    "llmapi/err.403.suspended": K.BAD_KEY,
    "llmapi/err.410.model": K.MODEL_MISSING,
    "llmapi/err.415.media": K.BAD_REQUEST,
    "llmapi/err.429.free_model": K.RATE_LIMIT,
    "llmapi/err.429.key_cap": K.ACCOUNT_EXHAUSTED,
    "llmapi/err.500.gateway_error": K.UPSTREAM_REFUSED,
    "llmapi/err.500.upstream_429": K.SERVER_ERROR,
    "llmapi/err.502.fetch_failed": K.SERVER_ERROR,
    "llmapi/res.chat.content_filter": K.CONTENT_FILTER,
    "moonshot/err.400.content_filter": K.CONTENT_FILTER,
    "moonshot/err.400.invalid_temperature": K.BAD_REQUEST,
    "moonshot/err.400.reasoning_missing": K.BAD_REQUEST,
    "moonshot/err.400.token_limit": K.CONTEXT_TOO_LONG,
    "moonshot/err.401.auth": K.BAD_KEY,
    "moonshot/err.403.permission": K.NOT_PERMITTED,
    "moonshot/err.404.model": K.MODEL_MISSING,
    "moonshot/err.429.concurrency": K.RATE_LIMIT,
    "moonshot/err.429.engine_overloaded": K.OVERLOAD,
    "moonshot/err.429.quota": K.ACCOUNT_EXHAUSTED,
    "moonshot/err.429.rpm": K.RATE_LIMIT,
    "moonshot/err.429.tpd": K.DAILY_QUOTA,
    "moonshot/err.500.server": K.SERVER_ERROR,
    "moonshot/err.503.unavailable": K.OVERLOAD,
    "moonshot/err.504.html": K.TIMEOUT_AFTER_SEND,
    "moonshot/res.chat.length_in_reasoning": K.TRUNCATED,
    "openai/err.400.context_length": K.CONTEXT_TOO_LONG,
    "openai/err.400.json_mode": K.BAD_REQUEST,
    "openai/err.400.max_tokens": K.BAD_REQUEST,
    "openai/err.400.temperature": K.BAD_REQUEST,
    "openai/err.401.invalid_key": K.BAD_KEY,
    "openai/err.403.country": K.NOT_PERMITTED,
    "openai/err.404.model": K.MODEL_MISSING,
    "openai/err.429.credit_balance": K.ACCOUNT_EXHAUSTED,
    "openai/err.429.insufficient_quota": K.ACCOUNT_EXHAUSTED,
    "openai/err.429.rate_limit": K.RATE_LIMIT,
    "openai/err.429.request_too_large": K.TOO_LARGE_FOR_LIMIT,
    "openai/err.429.slow_down": K.RATE_LIMIT,
    "openai/err.500.server": K.SERVER_ERROR,
    "openai/err.503.overloaded": K.OVERLOAD,
    "openai/res.chat.content_filter": K.CONTENT_FILTER,
    "openai/res.chat.reasoning_ate_budget": K.TRUNCATED,
    "openai/res.chat.refusal": K.REFUSAL,
    "openai/res.responses.failed": K.ERROR_IN_200,
    "openai/res.responses.incomplete": K.TRUNCATED,
    "vertex/err.401.token": K.TOKEN_EXPIRED,
    "vertex/err.403.denied": K.NOT_PERMITTED,
    "vertex/err.404.model": K.MODEL_MISSING,
    "vertex/err.429.exhausted": K.RATE_LIMIT,
    "vertex/err.499.cancelled": K.SERVER_ERROR,
    "vertex/err.503.unavailable": K.OVERLOAD,
}
RESPONSES = list(samples("response"))
CALLS = [one for one in RESPONSES if one.expect.get("action")]


def read(one: Sample) -> Answer | Failure:
    params = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return adapter_for(one.wire).read(one.reply, line(one.form, params), route(one.wire, "m", one.host))


@pytest.mark.parametrize("one", CALLS, ids=lambda one: one.name)
def test_a_reply_is_an_answer_or_its_row(one: Sample) -> None:
    result = read(one)
    assert (result.kind if isinstance(result, Failure) else None) == ROWS.get(one.name), result


def test_every_row_named_here_is_a_reply_that_exists() -> None:
    assert set(ROWS) <= {one.name for one in CALLS}


@pytest.mark.parametrize("one", [one for one in CALLS if "delay_s" in one.expect], ids=lambda one: one.name)
def test_the_wait_that_the_provider_asks_for_is_the_wait(one: Sample) -> None:
    result = read(one)
    assert isinstance(result, Failure)
    assert result.retry_after_s == pytest.approx(one.expect["delay_s"])


@pytest.mark.parametrize("one", [one for one in CALLS if one.expect.get("usage")], ids=lambda one: one.name)
def test_tokens_are_counted_in_the_one_meaning(one: Sample) -> None:
    """Also those of answers that could not be used: they are billed."""
    usage, expected = read(one).usage, one.expect["usage"]
    assert isinstance(usage, Usage)
    assert {
        "input": usage.input_tokens,
        "cached": usage.cached_input_tokens,
        "cache_write": usage.cache_write_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
    } == expected


@pytest.mark.parametrize("one", [one for one in CALLS if one.expect["action"] == "ok"], ids=lambda one: one.name)
def test_an_answer_in_the_form_of_its_line_is_the_providers_own_bytes(one: Sample) -> None:
    result = read(one)
    assert isinstance(result, Answer)
    if one.wire != "bedrock" and "embed" not in one.schema:
        assert result.body == one.reply.body


@pytest.mark.parametrize("one", [one for one in CALLS if one.expect["action"] == "ok"], ids=lambda one: one.name)
def test_the_reason_to_end_is_the_contracts_word(one: Sample) -> None:
    result = read(one)
    assert isinstance(result, Answer)
    assert result.finish_reason == one.expect.get("finish")


def test_an_answer_without_usage_has_none_and_not_zeros() -> None:
    """A zero would make the line free on the bill."""
    found = [read(one) for one in RESPONSES if one.name == "edge/usage_null.200"]
    assert [result.usage for result in found] == [None]


_ACTIONS = {
    "retry_same": lambda row: row.retry and row.wait is not Wait.OPERATOR,
    "retry_after": lambda row: row.retry and row.wait is Wait.TOLD,
    "fallback": lambda row: row.fall_back and (not row.retry or row.wait is Wait.DAY),
    "fail": lambda row: not row.retry,
    "disable": lambda row: row.effect is Effect.CLOSE or not row.retry,
}
_KNOWN_BETTER = {
    "edge/html.200": "a page may be a passing portal, so it is tried again before the next route",
    "anthropic/res.message.context_window": "an answer that was cut is an answer, marked as such",
    "anthropic/res.message.max_tokens": "as above",
    "openai/res.chat.length_json_cut": "as above",
}


@pytest.mark.parametrize("one", CALLS, ids=lambda one: one.name)
def test_the_row_does_what_the_reference_says(one: Sample) -> None:
    action = one.expect["action"]
    result = read(one)
    if one.name in _KNOWN_BETTER:
        return
    if action == "ok":
        assert isinstance(result, Answer)
    else:
        assert isinstance(result, Failure)
        assert _ACTIONS[action](TABLE[result.kind]), (action, result.kind)
