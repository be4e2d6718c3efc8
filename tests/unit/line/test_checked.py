"""An answer that breaks the schema its request asked for is no success; what is said about it holds nothing of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bucketline.failure import Kind
from bucketline.request import Form, Request
from bucketline.usage import Usage
from tests.unit.line.routes_for_tests import a_route
from worker.checked import Checker, asked_schema
from worker.providers.base import Answer
from worker.revise import raised, repaired
from worker.schemas import plain_schema

SCHEMA = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}}
    },
    "required": ["items"],
}
GOOD, BAD = '{"items": [{"price": 1}]}', '{"items": [{"price": "the secret word"}]}'


def a_request(form: Form, params: dict[str, Any]) -> Request:
    return Request(1, "a", form, "m", json.dumps(params).encode(), params)


def an_answer(body: dict[str, Any], finish: str = "stop") -> Answer:
    return Answer(json.dumps(body).encode(), Usage(input_tokens=1, output_tokens=2), finish, "m-1", "req-1")


def chat(*texts: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}} for text in texts]}


CHAT = a_request(
    Form.CHAT,
    {
        "messages": [{"role": "user", "content": "q"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    },
)
ASKS = {
    Form.CHAT: (CHAT.params, chat),
    Form.RESPONSES: (
        {"input": "q", "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}},
        lambda text: {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": text}]}]},
    ),
    Form.MESSAGES: (
        {"messages": [], "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        lambda text: {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]},
    ),
    Form.GENERATE: (
        {"contents": [], "generationConfig": {"responseSchema": {
            "type": "OBJECT",
            "properties": {"items": {"type": "ARRAY", "items": {"type": "OBJECT", "properties": {"price": {"type": "NUMBER"}}}}},
            "required": ["items"],
        }}},
        lambda text: {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": text}]}}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", ASKS)
def test_each_form_is_checked_where_it_says_its_schema_and_its_text(form: Form) -> None:
    params, written = ASKS[form]
    checker, request = Checker(), a_request(form, params)
    assert checker.check(request, an_answer(written(GOOD))) is None
    wrong = checker.check(request, an_answer(written(BAD)))
    assert wrong is not None
    failure = wrong.failure
    assert failure.kind is Kind.INVALID_ANSWER
    assert (failure.usage, failure.status, failure.served_model) == (Usage(input_tokens=1, output_tokens=2), 200, "m-1")
    assert "items[].price" in failure.message
    assert "secret" not in failure.message
    assert "secret" in wrong.told


@pytest.mark.parametrize("text", ["```json\n{}\n```", "", "[1,", GOOD + "x"])
def test_what_is_no_json_at_all_is_invalid_unless_it_is_nothing(text: str) -> None:
    wrong = Checker().check(CHAT, an_answer(chat(text)))
    assert (wrong is None) is (text == "")


def test_every_choice_must_hold() -> None:
    assert Checker().check(CHAT, an_answer(chat(GOOD, GOOD))) is None
    assert Checker().check(CHAT, an_answer(chat(GOOD, BAD))) is not None


def test_a_tool_call_or_a_truncated_answer_is_not_held_against_the_schema() -> None:
    call = {"choices": [{"message": {"content": "calling", "tool_calls": [{"id": "1"}]}}]}
    assert Checker().check(CHAT, an_answer(call)) is None
    assert Checker().check(CHAT, an_answer(chat('{"items": ['), finish="length")) is None


@pytest.mark.parametrize(
    "schema", [{"type": "no-such-type"}, {"$ref": "http://127.0.0.1:9/schema.json"}, {"$ref": "#/$defs/none"}, {}, []]
)
def test_a_schema_that_cannot_be_checked_is_the_providers_business(schema: Any) -> None:
    """It took the request; and nothing is ever fetched to follow a reference."""
    params = {"messages": [], "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    assert Checker().check(a_request(Form.CHAT, params), an_answer(chat(BAD))) is None


def test_a_schema_is_compiled_once_and_a_request_without_one_is_not_read() -> None:
    checker = Checker()
    for _ in range(3):
        checker.check(CHAT, an_answer(chat(GOOD)))
    assert len(checker._validators) == 1
    plain = a_request(Form.CHAT, {"messages": [], "response_format": {"type": "json_object"}})
    assert asked_schema(plain) is None
    assert checker.check(plain, Answer(b"not read", None, "stop", None, None)) is None


def test_googles_words_become_the_schemas() -> None:
    google = {
        "type": "OBJECT",
        "nullable": True,
        "properties": {"n": {"type": "INTEGER", "minimum": 1}, "s": {"type": "STRING", "maxLength": "3", "format": "enum"}},
        "propertyOrdering": ["n"],
        "any_of": [{"type": "STRING"}],
        "min_properties": 1,
    }  # fmt: skip
    plain = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1}, "s": {"type": "string", "maxLength": 3}},
        "anyOf": [{"type": "string"}],
        "minProperties": 1,
    }
    assert plain_schema(google) == {"anyOf": [plain, {"type": "null"}]}


@pytest.mark.parametrize("form", ASKS)
def test_a_repair_tells_the_model_its_answer_and_the_fault_and_leaves_the_rest(form: Form) -> None:
    params, written = ASKS[form]
    request = a_request(form, params)
    again = repaired(request, json.dumps(written(BAD)).encode(), "the fault")
    assert again is not None
    assert json.loads(again.body) == again.params
    (changed,) = [name for name in again.params if again.params[name] != params.get(name)]
    assistant, user = again.params[changed][-2:]
    assert "the secret word" in json.dumps(assistant)
    assert "the fault" in json.dumps(user)
    assert request.params == params, "the line itself is never changed"


@pytest.mark.parametrize(
    ("params", "larger"),
    [
        ({"max_tokens": 10}, {"max_tokens": 20}),
        ({"max_completion_tokens": 7, "n": 2}, {"max_completion_tokens": 14, "n": 2}),
        ({"generationConfig": {"maxOutputTokens": 5, "topK": 1}}, {"generationConfig": {"maxOutputTokens": 10, "topK": 1}}),
        ({"messages": []}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": True}, None),
    ],
)  # fmt: skip
def test_a_cap_is_doubled_where_one_is_declared(params: dict[str, Any], larger: dict[str, Any] | None) -> None:
    again = raised(a_request(Form.CHAT, params), a_route())
    assert (again and again.params) == larger
    assert again is None or json.loads(again.body) == larger


def test_a_cap_that_the_route_sets_cannot_be_raised() -> None:
    """It would be sent unchanged, and truncated again for the same money."""
    assert raised(a_request(Form.CHAT, {"max_tokens": 10}), a_route(set={"max_tokens": 10})) is None
