"""The readers of waits and counts, and the cleaner of providers' words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bucketline.failure import Failure, Kind
from bucketline.usage import Usage
from tests.samples import chat_line, reply, route
from worker.providers import adapter_for
from worker.providers.delays import retry_after_s
from worker.providers.redact import clean_body, clean_message
from worker.providers.usage import bedrock_usage, chat_usage, gemini_usage, messages_usage, responses_usage

NOON = "Wed, 25 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "error", "message", "seconds"),
    [
        ({"retry-after-ms": "60", "retry-after": "1"}, {}, "", 0.06),
        ({"retry-after": "17"}, {}, "", 17.0),
        ({"retry-after": "1.5"}, {}, "try again in 9s", 1.5),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT", "date": NOON}, {}, "", 30.0),
        ({"retry-after": "Wed, 25 Nov 2026 11:00:00 GMT", "date": NOON}, {}, "", 0.0),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT"}, {}, "", None),
        ({"retry-after": "soon"}, {}, "", None),
        ({"retry-after": "-3"}, {}, "", 0.0),
        ({"retry-after": "nan"}, {}, "", None),
        ({"retry-after": "1e999"}, {}, "", None),
        ({}, {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.4s"}]}, "", 38.4),
        ({"x-ratelimit-reset": "1795608030", "date": NOON}, {}, "", 30.0),
        ({"x-ratelimit-reset": "1795608030000", "date": NOON}, {}, "", 30.0),
        ({"x-ratelimit-reset": "7ms", "date": NOON}, {}, "", None),
        ({}, {}, "Please try again in 5.289s.", 5.289),
        ({}, {}, "please try again after 1 seconds", 1.0),
        ({}, {}, "Please try again in 60ms.", 0.06),
        ({}, {}, "Please try again in 7m12s.", 432.0),
        ({}, {}, "try again in 1h2m3s", 3723.0),
        ({}, {}, "Please try again later.", None),
    ],
)
def test_the_wait_a_provider_asks_for(
    headers: dict[str, str], error: dict[str, Any], message: str, seconds: float | None
) -> None:
    """Read from the reply alone: the host's clock and ours may differ by minutes."""
    found = retry_after_s(CIMultiDict(headers), error, message)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_short_wait_beside_a_daily_limit_is_waited_for_and_a_whole_day_is_not() -> None:
    """OpenAI's daily limits refill all the time; others' begin anew at an hour."""
    body = {
        "error": {"code": "rate_limit_exceeded", "message": "Rate limit reached on requests per day (RPD): Limit 200"}
    }
    kinds = []
    for more in ({"retry_after": "432"}, {}, {"retry_after": "86400"}):
        result = adapter_for("openai").read(reply(429, body, **more), chat_line(), route())
        assert isinstance(result, Failure)
        kinds.append(result.kind)
    assert kinds == [Kind.RATE_LIMIT, Kind.DAILY_QUOTA, Kind.DAILY_QUOTA]


counts = st.integers(-2, 5000) | st.none() | st.floats() | st.text(max_size=3) | st.booleans()
MEMBERS = {
    chat_usage: ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"],
    responses_usage: ["input_tokens", "output_tokens", "total_tokens"],
    messages_usage: ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"],
    gemini_usage: ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "totalTokenCount"],
    bedrock_usage: ["inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"],
}  # fmt: skip


@pytest.mark.parametrize("read", MEMBERS, ids=lambda read: read.__name__)
@given(data=st.data())
def test_counts_are_right_or_none_and_never_contradict_themselves(read: Any, data: st.DataObject) -> None:
    usage = read(data.draw(st.dictionaries(st.sampled_from(MEMBERS[read]), counts)))
    if usage is not None:
        assert all(type(count) is int and count >= 0 for count in usage.document().values())
        assert usage.cached_input_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert usage.reasoning_tokens <= usage.output_tokens


@pytest.mark.parametrize(
    ("read", "usage", "expected"),
    [
        (chat_usage, {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 10}}, None),
        (chat_usage, {"prompt_tokens": 9, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 4}}, None),
        (chat_usage, {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": None}, Usage(9, output_tokens=3)),
        (chat_usage, {"prompt_tokens": 9, "total_tokens": 9}, Usage(9)),
        (chat_usage, {"prompt_tokens": True, "completion_tokens": 3}, None),
        (chat_usage, {"prompt_tokens": 10**15, "completion_tokens": 3}, None),
        (chat_usage, {}, None),
        (chat_usage, {"promptTokens": 2, "completionTokens": 1, "totalTokens": 33}, Usage(2, output_tokens=31, reasoning_tokens=30)),
        (chat_usage, {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 15, "reasoning_tokens": 3}, Usage(9, output_tokens=6, reasoning_tokens=3)),
        (chat_usage, {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"audio_tokens": 4, "image_tokens": 2},
                      "completion_tokens_details": {"audio_tokens": 1}},
         Usage(9, output_tokens=3, audio_input_tokens=4, audio_output_tokens=1, image_input_tokens=2)),
        (gemini_usage, {"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 14},
         Usage(9, output_tokens=5, reasoning_tokens=3)),
        (gemini_usage, {"promptTokenCount": 9, "candidatesTokenCount": 5,
                        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}, {"modality": "TEXT", "tokenCount": 5}]},
         Usage(9, output_tokens=5, audio_input_tokens=4)),
        (messages_usage, {"input_tokens": 1, "cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 2}, "output_tokens": 1},
         Usage(6, cache_write_tokens=5, cache_write_1h_tokens=2, output_tokens=1)),
        (bedrock_usage, {"inputTokens": 1, "cacheWriteInputTokens": 5, "cacheDetails": [{"ttl": "1h", "inputTokens": 5}], "outputTokens": 1},
         Usage(6, cache_write_tokens=5, cache_write_1h_tokens=5, output_tokens=1)),
    ],
)  # fmt: skip
def test_odd_counts_by_example(read: Any, usage: dict[str, Any], expected: Usage | None) -> None:
    assert read(usage) == expected


def test_an_answer_that_cost_nothing_at_all_was_not_counted() -> None:
    body = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}  # fmt: skip
    assert adapter_for("openai").read(reply(200, body), chat_line(), route()).usage is None


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456", "sk-te**000", "gsk_abcdef123456", "AIzaSyA0123456789abc", "ya29.a0Ab-cd", "llmgtwy_abc12345",
        "AKIAABCDEFGHIJKLMNOP", "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.sig",
    ],
)  # fmt: skip
def test_what_looks_like_a_key_leaves_a_message(secret: str) -> None:
    cleaned = clean_message(f"Incorrect API key provided: {secret}. Find yours in the console.")
    assert secret not in cleaned
    assert "Find yours" in cleaned


def test_the_calls_own_key_leaves_message_and_body_whatever_it_looks_like() -> None:
    key = "correct horse battery"
    assert key not in clean_message(f"bad key {key}!", key=key)
    assert clean_body(f'{{"error":"bad key {key}"}}'.encode(), key) == '{"error":"bad key …"}'.encode()


def test_an_error_that_echoes_the_prompt_is_told_without_it() -> None:
    """Messages go to logs and to the eyes of whoever runs the batch; prompts do not."""
    prompt = "my very private diary of the year CANARY-77341-XYZ"
    for echo in (
        f"Invalid value: '{prompt}' is not allowed",
        f"could not parse {prompt} at position 3",
        "unexpected token CANARY-77341-XYZ in input",
    ):
        line = chat_line(messages=[{"role": "user", "content": prompt}])
        result = adapter_for("openai").read(reply(400, {"error": {"message": echo}}), line, route(model="alpha-small"))
        assert isinstance(result, Failure)
        assert "CANARY" not in result.message
        assert "private diary" not in result.message


def test_the_name_of_a_parameter_or_a_model_stays_in_the_message() -> None:
    """They stand in the line too, and they are the whole point of the message."""
    message = "Unsupported parameter: 'max_completion_tokens' is not supported with alpha-small-2026."
    line = chat_line(model="alpha-small-2026", max_completion_tokens=5)
    assert clean_message(message, line_body=line.body, model="alpha-small-2026") == message


@pytest.mark.parametrize(
    "prompt", ["Ämter für Übergänge", "私は秘密の日記を書いています", "one\ntwo\tthree", 'say "this" aloud']
)
def test_a_prompt_is_known_again_however_its_line_spells_it(prompt: str) -> None:
    """Python's encoder escapes all but ASCII, and every encoder escapes quotes and ends of lines."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}).encode()
    echo = " ".join(prompt.split())
    assert echo not in clean_message(f"Bad content {echo} in messages", line_body=body)


@pytest.mark.parametrize("place", [3, {"a": 1}, None, "body", [None, ["x"]]])
def test_an_error_that_names_an_odd_place_is_an_error_all_the_same(place: object) -> None:
    document = {"detail": [{"loc": place, "msg": "field required"}]}
    result = adapter_for("openai").read(reply(422, document), chat_line(), route())
    assert isinstance(result, Failure)
    assert "field required" in result.message


@pytest.mark.parametrize("odd", [[], {}, 3, None])
@pytest.mark.parametrize("model", ["gpt-5-mini", "other"])
def test_an_odd_effort_is_the_providers_to_refuse(odd: Any, model: str) -> None:
    odd_ones = {"reasoning_effort": odd, "reasoning": {"effort": odd}, "output_config": {"effort": odd}}
    line = chat_line(**odd_ones, generationConfig={"thinkingConfig": {"thinkingLevel": odd}})
    assert adapter_for("openai").wants_stream(line, route(model=model, stream="auto", preset="openai")) is (
        model != "other"
    )


def test_a_message_is_short_and_an_error_body_is_not_a_book() -> None:
    assert len(clean_message("word " * 5000)) <= 300
    assert clean_body(b'"' + b"x" * 100_000 + b'"', "") is None


def test_a_prompt_about_money_closes_no_route() -> None:
    """A 400 may quote the line; read carelessly, one customer's text would stop everyone's batch."""
    quote = "Invalid value: 'my account balance: insufficient credits, suspended, API key not valid, credit balance is too low'"
    result = adapter_for("openai").read(reply(400, {"error": {"message": quote, "type": "x"}}), chat_line(), route())
    assert isinstance(result, Failure)
    assert result.kind is Kind.BAD_REQUEST


def test_ordinary_words_are_no_keys() -> None:
    words = "The task-oriented-model and risk-assessment desk_clerk did not answer."
    assert clean_message(words) == words
