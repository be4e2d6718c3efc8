"""A line that is run again is the line that was, but for what was to change; its id stays its id."""

from __future__ import annotations

import json

import pytest

from bucketline.errors import UsageError
from bucketline.request import Request, read_request
from producer.rerun import Change, changed_line, parse_set, wanted_kinds


def changed(raw: str, change: Change, line: int = 7) -> str:
    return changed_line(raw.encode(), line, "default-model", change).decode()


MORE = Change({"max_tokens": 8000})


def test_only_the_named_members_change_and_every_other_byte_stays() -> None:
    envelope = r'{ "custom_id": "a",  "method":"POST", "url": "/v1/chat/completions", "body": %s }'
    raw = envelope % r'{"x": 1.50, "s": "\u00e9", "max_tokens": 10}'
    raw = raw.replace('{"x"', '{"messages": [], "x"')
    assert changed(raw, MORE) == envelope % r'{"messages": [],"x": 1.50,"s": "\u00e9","max_tokens": 8000}'
    assert changed(raw, Change()) == raw


def test_a_cap_is_set_under_the_name_that_the_line_uses() -> None:
    """A line with two caps is refused by its provider."""
    chat = '{"custom_id":1,"url":"/v1/chat/completions","body":{"messages":[],"max_completion_tokens":5}}'
    assert json.loads(changed(chat, MORE))["body"] == {"messages": [], "max_completion_tokens": 8000}
    gemini = '{"key":"k","request":{"contents":[],"generationConfig":{"topK":1}}}'
    assert json.loads(changed(gemini, MORE))["request"]["generationConfig"] == {"topK": 1, "maxOutputTokens": 8000}


def test_paths_and_absences() -> None:
    raw = '{"custom_id":"a","params":{"model":"m","messages":[],"thinking":{"type":"enabled","budget_tokens":9}}}'
    change = Change({"thinking.budget_tokens": 100, "new.deep.name": True}, ("model", "never-there"))
    assert json.loads(changed(raw, change))["params"] == {
        "messages": [], "thinking": {"type": "enabled", "budget_tokens": 100}, "new": {"deep": {"name": True}},
    }  # fmt: skip


def test_a_bare_body_keeps_its_line_number_as_its_id() -> None:
    raw = '{"model":"m","messages":[{"role":"user","content":"q"}]}'
    again = read_request(changed(raw, MORE).encode(), 1, None)
    before = read_request(raw.encode(), 7, None)
    assert isinstance(again, Request)
    assert isinstance(before, Request)
    assert (
        (again.custom_id, again.form, again.model) == (before.custom_id, before.form, before.model) == (7, "chat", "m")
    )
    assert again.params["max_tokens"] == 8000


def test_a_body_that_stands_in_the_line_twice_is_changed_where_it_is_the_body() -> None:
    raw = '{"body":{"messages":[]},"metadata":{"copy":{"messages":[]}},"custom_id":"a","url":"/v1/chat/completions"}'
    again = json.loads(changed(raw, MORE))
    assert again["body"] == {"messages": [], "max_tokens": 8000}
    assert again["metadata"] == {"copy": {"messages": []}}


def test_values_are_json_where_they_can_be() -> None:
    assert parse_set(["a=1", "b=x", "c=null", 'd={"e":[]}', "f="]) == {
        "a": 1,
        "b": "x",
        "c": None,
        "d": {"e": []},
        "f": "",
    }
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_set(["max_tokens"])


def test_a_kind_that_does_not_exist_is_named() -> None:
    assert wanted_kinds("truncated, timeout") == {"truncated", "timeout"}
    for text in ("trunkated", "", ","):
        with pytest.raises(UsageError, match="truncated, failed"):
            wanted_kinds(text)
