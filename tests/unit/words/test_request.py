"""A line is understood the same way at submit and at the worker, or refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.declared import declared_cap_tokens, declared_choices
from bucketline.request import Fault, Form, Request, read_request

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def line(**members: Any) -> bytes:
    return json.dumps(members).encode()


def read(raw: bytes, default_model: str | None = None) -> Request:
    request = read_request(raw, 7, default_model)
    assert isinstance(request, Request), request
    return request


@pytest.mark.parametrize(
    ("raw", "form", "custom_id"),
    [
        (line(custom_id="a", method="POST", url="/v1/chat/completions", body=CHAT), Form.CHAT, "a"),
        (line(custom_id="a", method="post", url="https://h.test/v4/chat/completions", body=CHAT), Form.CHAT, "a"),
        (
            line(custom_id="a", method="POST", url="/v1/responses", body={"model": "m", "input": "x"}),
            Form.RESPONSES,
            "a",
        ),
        (line(custom_id="a", url="/v1/embeddings", body={"model": "m", "input": ""}), Form.EMBEDDINGS, "a"),
        (line(custom_id="a", url="/v1/completions", body={"model": "m", "prompt": ""}), Form.COMPLETIONS, "a"),
        (line(custom_id="a", params=CHAT), Form.MESSAGES, "a"),
        (line(key="a b", request={"model": "models/m", "contents": []}), Form.GENERATE, "a b"),
        (line(request={"model": "m", "contents": []}), Form.GENERATE, 7),
        (line(**CHAT), Form.CHAT, 7),
        (line(**CHAT, system="be brief"), Form.MESSAGES, 7),
    ],
)
def test_the_four_forms_are_told_apart_by_their_keys(raw: bytes, form: Form, custom_id: object) -> None:
    request = read(raw)
    assert (request.form, request.custom_id, request.model) == (form, custom_id, "m")


@pytest.mark.parametrize("custom_id", ["x", "", 8, -1.5, True, False, None, "\u2028", 2**60])
def test_any_scalar_is_an_id_and_keeps_its_type(custom_id: object) -> None:
    request = read(line(custom_id=custom_id, url="/v1/chat/completions", body=CHAT))
    assert request.custom_id == custom_id
    assert type(request.custom_id) is type(custom_id)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[1, 2, 3]", "an array"),
        (b'"text"', "text"),
        (b"null", "null"),
        (b"{not json", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (line(custom_id="a", url="/v1/chat/completions", body="text"), "body is text"),
        (line(url="/v1/chat/completions", body=CHAT), "no custom_id"),
        (line(custom_id=[1], url="/v1/chat/completions", body=CHAT), "custom_id is an array"),
        (line(custom_id="a", url="/v1/nowhere", body=CHAT), "no endpoint"),
        (line(custom_id="a", method="GET", url="/v1/chat/completions", body=CHAT), "only POST"),
        (line(custom_id="a", url="/v1/chat/completions", body={"model": "m"}), "'messages'"),
        (line(custom_id="a", url="/v1/chat/completions", body={"messages": []}), "--model"),
        (line(question="q", answer="a"), "not a request"),
    ],
)
def test_a_line_that_cannot_be_sent_is_told_in_one_sentence(raw: bytes, words: str) -> None:
    fault = read_request(raw, 7)
    assert isinstance(fault, Fault)
    assert fault.line == 7
    assert words in fault.message
    assert len(fault.message) < 300


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    read_request(raw, 1)


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3), st.booleans(), st.booleans())
def test_the_bodys_own_bytes_come_out_wherever_it_stands(extra: dict[str, str], last: bool, spaced: bool) -> None:
    body = json.dumps({**CHAT, "x": extra, "f": 1.0}, indent=1 if spaced else None)
    body = body.replace("\n", " ")
    others = '"custom_id":"a","url":"/v1/chat/completions"'
    raw = f'{{{others},"body":{body}}}' if last else f'{{"body" : {body} ,{others}}}'
    request = read(raw.encode())
    assert request.body == body.encode()
    assert request.params == json.loads(body)


def test_a_body_named_inside_the_id_is_not_the_body() -> None:
    body = json.dumps(CHAT)
    request = read(f'{{"custom_id":"\\"body\\":{{","url":"/v1/chat/completions","body":{body}}}'.encode())
    assert request.custom_id == '"body":{'
    assert request.body == body.encode()


def test_the_default_model_stands_in_and_never_overrules() -> None:
    nameless = line(custom_id="a", url="/v1/chat/completions", body={"messages": []})
    assert read(nameless, "d").model == "d"
    assert read(line(custom_id="a", url="/v1/chat/completions", body=CHAT), "d").model == "m"


def test_the_largest_declared_cap_counts_in_any_spelling() -> None:
    assert declared_cap_tokens({"max_tokens": 5, "max_completion_tokens": 9}) == 9
    assert declared_cap_tokens({"generationConfig": {"maxOutputTokens": 4}}) == 4
    assert declared_cap_tokens({"max_tokens": 0}) is None
    assert declared_cap_tokens({}) is None


@pytest.mark.parametrize("name", ["generationConfig", "generation_config", "config"])
def test_googles_settings_are_read_under_each_of_their_names(name: str) -> None:
    assert declared_cap_tokens({name: {"max_output_tokens": 4}}) == 4
    assert declared_choices({name: {"candidateCount": 3}}) == 3


@pytest.mark.parametrize("senseless", [-1, 0, True, "9", None])
def test_a_senseless_cap_or_count_is_none(senseless: Any) -> None:
    assert declared_cap_tokens({"max_tokens": senseless}) is None
    assert declared_choices({"n": senseless}) == 1


def test_the_choices_asked_for_are_counted() -> None:
    assert declared_choices({}) == 1
    assert declared_choices({"n": 4}) == 4


@pytest.mark.parametrize("body_last", [True, False])
def test_a_model_without_a_name_is_refused_wherever_the_body_stands(body_last: bool) -> None:
    rest, body = {"url": "/v1/chat/completions"}, {"body": {**CHAT, "model": "models/"}}
    fault = read_request(line(custom_id="a", **(rest | body if body_last else body | rest)), 1)
    assert isinstance(fault, Fault)
    assert "names no model" in fault.message


@pytest.mark.parametrize("depth", [500, 1000, 100_000])
@pytest.mark.parametrize("body_last", [True, False])
def test_no_depth_of_nesting_raises(depth: int, body_last: bool) -> None:
    body = b'"body":{"model":"m","messages":' + b"[" * depth + b"]" * depth + b"}"
    rest = b'"custom_id":"a","url":"/v1/chat/completions"'
    read = read_request(b"{" + (rest + b"," + body if body_last else body + b"," + rest) + b"}", 1)
    assert isinstance(read, Request) or "nested too deeply" in read.message


_PLACES = st.permutations(["custom_id", "key", "method", "url", "model", "body", "params", "request"])


@given(
    places=_PLACES,
    taken=st.sets(st.integers(0, 7), min_size=1),
    url=st.sampled_from(["/v1/chat/completions", "/v1/embeddings", "/v1/{x}", "/nowhere", "", None, 3]),
    body=st.sampled_from(
        [CHAT, {}, {"model": "m", "input": "x"}, {"messages": [], "model": ""}, {"model": 4}, None, [1]]
    ),
    custom_id=st.sampled_from(["a", "", "a b", "\u00e9", '"', "{", 7, None]),
    compact=st.booleans(),
)
def test_the_short_way_through_a_usual_line_ends_where_the_long_way_does(
    places: list[str], taken: set[int], url: Any, body: Any, custom_id: Any, compact: bool
) -> None:
    """What passes at submit is what is sent: no spelling of a line may be understood in two ways. A blank at the end of
    the line rules the short way out and changes nothing else.
    """
    values = {"custom_id": custom_id, "key": custom_id, "method": "POST", "url": url, "model": "outer"}
    members = {name: values.get(name, body) for position, name in enumerate(places) if position in taken}
    raw = json.dumps(members, separators=(",", ":") if compact else None).encode()
    assert read_request(raw, 7) == read_request(raw + b" ", 7)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"custom_id":"a","custom_id":"b","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}',
        b'{"custom_id":"a","body":1,"url":"/v1/chat/completions","body":{"model":"m","messages":[]}}',
        b'{"custom_id":"a","params":null,"url":"/v1/chat/completions","body":{"model":"m","messages":[]}}',
        b'{"custom_id":"a","body":null,"url":"/v1/chat/completions","params":{"model":"m","messages":[]}}',
        b'{"custom_id":"a","url":"/v1/chat/completions","body":{"model":"m","messages":[]},"x":{}}',
        b'{"custom_id":"a","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}}',
        b'{"custom_id":"a","url":"/v1/chat/completions","method":"GET","body":{"model":"m","messages":[]}}',
    ],
)
def test_odd_lines_that_look_usual_are_read_as_ever(raw: bytes) -> None:
    """Repeated members, a second body, more after the body: the short way must see that they are not its own."""
    assert read_request(raw, 7) == read_request(raw + b" ", 7)
