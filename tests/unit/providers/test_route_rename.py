"""A parameter that has another name on a route keeps its value there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bucketline.catalog import Catalog
from bucketline.request import Request, read_request
from bucketline.settings import Settings
from worker.providers import Call, adapter_for


def sent(body: dict[str, Any]) -> Any:
    route = {"provider": "beta", "model": "b", "rename": {"max_tokens": "max_completion_tokens"}}
    settings = Settings.model_validate(
        {"providers": {"beta": {"base_url": "http://127.0.0.1:1/v1"}}, "models": {"m": {"routes": [route]}}}
    )
    line = {"custom_id": "a", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [], **body}}
    request = read_request(json.dumps(line).encode(), 1)
    assert isinstance(request, Request)
    call = adapter_for("openai").call(request, Catalog(settings).plan("m").routes[0], "")
    assert isinstance(call, Call)
    return json.loads(call.body)


@pytest.mark.parametrize("cap", [64, 0])
def test_the_value_goes_under_the_new_name(cap: int) -> None:
    body = sent({"max_tokens": cap})
    assert body["max_completion_tokens"] == cap
    assert "max_tokens" not in body


def test_a_line_without_it_is_left_alone() -> None:
    assert sent({}) == {"model": "b", "messages": []}
