"""What leaves for a provider: the address, the headers, and the line's own bytes."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.request import Form, Request, read_request
from tests.samples import chat_line, line, route
from worker.providers import Call, adapter_for
from worker.providers.base import ACCEPT_ENCODING

GENERATE = line(Form.GENERATE, {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
MESSAGES = line(Form.MESSAGES, {"model": "c", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})


def call(wire: str, request: Request, model: str = "m", key: str = "k", host: str = "", **given: Any) -> Call:
    made = adapter_for(wire).call(request, route(wire, model, host, **given), key, request_id="line-1")
    assert isinstance(made, Call), made
    return made


@given(st.text(min_size=0, max_size=40), st.floats(allow_nan=False, allow_infinity=False))
def test_a_body_passes_byte_for_byte_when_nothing_is_to_change(words: str, number: float) -> None:
    """Spelling of numbers, escapes, order and spaces are the line's own."""
    text = json.dumps(
        {"messages": [{"role": "user", "content": words}], "x": number, "model": "alpha-small", "y": 1.50}, indent=1
    )
    body = text.encode()
    request = line(Form.CHAT, json.loads(text), body)
    assert call("openai", request, "alpha-small").body == body


def test_only_the_models_name_changes_where_a_route_names_another() -> None:
    body = b'{"messages":[{"role":"user","content":"\\u00e9 model"}],"temperature":0.10,"model" : "alpha-small"}'
    request = line(Form.CHAT, json.loads(body), body)
    assert call("openai", request, "beta").body == body.replace(b'"alpha-small"', b'"beta"')


def test_set_and_unset_change_their_members_and_no_other() -> None:
    body = b'{"model":"alpha-small", "logit_bias":{"1":2}, "messages":[ {"role":"user","content":"hi"} ], "seed": 7e0}'
    sent = call(
        "openai", line(Form.CHAT, json.loads(body), body), "alpha-small", set={"temperature": 1}, unset=("logit_bias",)
    ).body
    assert b'[ {"role":"user","content":"hi"} ]' in sent
    assert b'"seed": 7e0' in sent
    kept = {name: value for name, value in json.loads(body).items() if name != "logit_bias"}
    assert json.loads(sent) == {**kept, "temperature": 1}


@pytest.mark.parametrize(
    ("wire", "raw"),
    [
        ("anthropic", b'{"custom_id":"a","params":{"model":"claude-sonnet-4-6","max_tokens":5, "messages":[{"role":"user","content":"\\u0041"}]}}'),
        ("gemini", b'{"key":"a","request":{"contents":[{"parts":[{"text":"\\u0041"}]}], "generation_config":{"top_p":0.50}}}'),
    ],
)  # fmt: skip
def test_a_line_in_the_wires_own_batch_form_passes_byte_for_byte(wire: str, raw: bytes) -> None:
    request = read_request(raw, 1, "claude-sonnet-4-6")
    assert isinstance(request, Request)
    assert call(wire, request, request.model).body == request.body


def test_the_model_of_a_generate_line_stands_in_the_path_alone() -> None:
    request = line(Form.GENERATE, {"model": "models/x", **GENERATE.params})
    sent = call("gemini", request, "gemini-3-pro", host="gemini")
    assert sent.url == "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro:generateContent"
    assert "model" not in json.loads(sent.body)


@pytest.mark.parametrize(
    ("wire", "given", "key", "url", "header"),
    [
        ("openai", {"host": "openai"}, "sk-1", "https://api.openai.com/v1/chat/completions", ("Authorization", "Bearer sk-1")),
        ("openai", {}, "", "http://alpha.test/v1/chat/completions", None),
        ("openai", {"preset": "azure", "base_url": "https://r.openai.azure.com/openai/v1"}, "key-1",
         "https://r.openai.azure.com/openai/v1/chat/completions", ("api-key", "key-1")),
        ("openai", {"preset": "azure", "base_url": "https://r.openai.azure.com", "api_version": "2024-10-21", "model": "dep 1"}, "key-1",
         "https://r.openai.azure.com/openai/deployments/dep%201/chat/completions?api-version=2024-10-21", ("api-key", "key-1")),
        ("openai", {"preset": "azure", "base_url": "https://r.openai.azure.com/openai/v1"}, "eyJhbGciOi.x.y",
         "https://r.openai.azure.com/openai/v1/chat/completions", ("Authorization", "Bearer eyJhbGciOi.x.y")),
        ("anthropic", {"host": "anthropic"}, "sk-ant-1", "https://api.anthropic.com/v1/messages", ("x-api-key", "sk-ant-1")),
        ("anthropic", {"base_url": "http://h/v1"}, "sk-ant-oat01-x", "http://h/v1/messages", ("Authorization", "Bearer sk-ant-oat01-x")),
        ("anthropic", {"api_version": "2026-10-21"}, "k", "http://alpha.test/v1/messages", ("anthropic-version", "2026-10-21")),
        ("gemini", {"host": "gemini", "model": "g"}, "AIza-1", "https://generativelanguage.googleapis.com/v1beta/models/g:generateContent", ("x-goog-api-key", "AIza-1")),
        ("vertex", {"project": "p1", "model": "g"}, "ya29.x",
         "https://aiplatform.googleapis.com/v1/projects/p1/locations/global/publishers/google/models/g:generateContent", ("Authorization", "Bearer ya29.x")),
        ("vertex", {"project": "p1", "region": "europe-west4", "model": "g"}, "ya29.x",
         "https://europe-west4-aiplatform.googleapis.com/v1/projects/p1/locations/europe-west4/publishers/google/models/g:generateContent", ("x-goog-user-project", "p1")),
        ("vertex", {"project": "p1", "region": "eu", "model": "g"}, "ya29.x",
         "https://aiplatform.eu.rep.googleapis.com/v1/projects/p1/locations/eu/publishers/google/models/g:generateContent", None),
        ("vertex", {"model": "g"}, "AIza-1", "https://aiplatform.googleapis.com/v1/publishers/google/models/g:generateContent", ("x-goog-api-key", "AIza-1")),
        ("bedrock", {"region": "eu-west-1", "model": "anthropic.claude-sonnet-4-6-v1:0"}, "ABSK-1",
         "https://bedrock-runtime.eu-west-1.amazonaws.com/model/anthropic.claude-sonnet-4-6-v1%3A0/converse", ("Authorization", "Bearer ABSK-1")),
        ("bedrock", {"region": "us-east-1", "model": "arn:aws:bedrock:us-east-1:1:inference-profile/us.x"}, "k",
         "https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse", None),
    ],
)  # fmt: skip
def test_addresses_and_keys_of_every_wire(
    wire: str, given: dict[str, Any], key: str, url: str, header: tuple[str, str] | None
) -> None:
    sent = call(wire, chat_line(), key=key, **given)
    assert sent.url == url
    if header is not None:
        assert sent.headers[header[0]] == header[1]
    if not key:
        assert "Authorization" not in sent.headers


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "vertex", "bedrock"])
def test_a_providers_own_headers_go_with_every_call(wire: str) -> None:
    headers = MappingProxyType({"X-Team": "seven", "anthropic-beta": "a,b"})
    sent = call(wire, chat_line(), headers=headers, region="r", project="p")
    assert (sent.headers["X-Team"], sent.headers["anthropic-beta"]) == ("seven", "a,b")
    assert "gzip" in sent.headers["Accept-Encoding"]


def test_our_own_id_goes_with_the_call_where_a_header_takes_it() -> None:
    assert call("openai", chat_line()).headers["X-Client-Request-Id"] == "line-1"


def test_a_call_shows_neither_its_key_nor_its_prompt() -> None:
    """It may end up in a traceback."""
    shown = repr(call("openai", chat_line(), key="sk-secret-123"))
    assert "secret" not in shown
    assert "hi" not in shown.replace("chat/", "")


def test_what_lives_in_a_section_of_the_wires_body_is_set_there() -> None:
    """``set`` is written once for a route, whatever form its lines have."""
    given = {"temperature": 0.5, "safetySettings": [], "thinkingConfig": {"thinkingBudget": 0}}
    for request in (chat_line(temperature=1), GENERATE):
        body = json.loads(call("gemini", request, set=given, unset=("top_p",)).body)
        assert body["generationConfig"] == {"temperature": 0.5, "thinkingConfig": {"thinkingBudget": 0}}
        assert body["safetySettings"] == []
    body = json.loads(call("bedrock", chat_line(temperature=1), set={"max_tokens": 9}, unset=("temperature",)).body)
    assert body["inferenceConfig"] == {"maxTokens": 9}


def test_anthropic_always_gets_a_cap() -> None:
    assert json.loads(call("anthropic", chat_line(), "claude-sonnet-4-6").body)["max_tokens"] == 16384
    assert json.loads(call("anthropic", chat_line(), "claude-3-haiku-20240307").body)["max_tokens"] == 4096


def test_a_thinking_budget_lies_below_the_cap() -> None:
    body = json.loads(call("anthropic", chat_line(reasoning_effort="high", max_tokens=100), "claude-sonnet-4-5").body)
    assert body["max_tokens"] > body["thinking"]["budget_tokens"] >= 1024


@pytest.mark.parametrize(
    ("model", "version", "names"),
    [
        ("claude-opus-4-6", None, ()),
        ("claude-opus-4-7", None, ("temperature",)),
        ("claude-sonnet-4-6", None, ()),
        ("claude-sonnet-5", None, ("temperature",)),
        ("claude-sonnet-4-6", "2026-10-21", ("temperature",)),
        ("claude-opus-5-5", None, ("temperature", "tool_choice")),
    ],
)
def test_what_a_claude_refuses_is_refused_by_name(model: str, version: str | None, names: tuple[str, ...]) -> None:
    """For lines of Anthropic's own form as for translated ones."""
    tools = [{"name": "w", "input_schema": {"type": "object"}}]
    own = {**MESSAGES.params, "temperature": 0.3, "tools": tools, "tool_choice": {"type": "tool", "name": "w"}}
    function = {"type": "function", "function": {"name": "w"}}
    for request in (line(Form.MESSAGES, own), chat_line(temperature=0.3, tools=[function], tool_choice=function)):
        found = adapter_for("anthropic").refused(request, route("anthropic", model, api_version=version))
        assert set(found) == set(names)


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192}),
        ("gemini-3-pro", "low", {"thinkingLevel": "LOW"}),
        ("gemini-3-pro", "max", {"thinkingLevel": "HIGH"}),
        ("gemini-2.0-flash", "high", None),
    ],
)
def test_an_effort_is_said_as_the_gemini_understands_it(
    model: str, effort: str, thinking: dict[str, Any] | None
) -> None:
    body = json.loads(call("gemini", chat_line(reasoning_effort=effort), model).body)
    assert body.get("generationConfig", {}).get("thinkingConfig") == thinking


def test_ids_of_calls_are_made_fit_for_anthropic_and_stay_pairs() -> None:
    """Moonshot's have a colon, which Anthropic refuses."""
    calls = [{"id": f"w:{at}", "type": "function", "function": {"name": "w", "arguments": "{}"}} for at in (0, 1)]
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": calls},
        *({"role": "tool", "tool_call_id": one["id"], "content": "x"} for one in calls),
    ]
    body = json.loads(call("anthropic", chat_line(messages=messages), "claude-sonnet-4-6").body)
    used = [block["id"] for block in body["messages"][1]["content"]]
    assert used == [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["w_0", "w_1"]


def test_embeddings_of_openais_form_are_made_by_google_and_back() -> None:
    request = line(Form.EMBEDDINGS, {"model": "e", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64"})
    sent = call("gemini", request, "gemini-embedding-001", host="gemini")
    assert sent.url.endswith("gemini-embedding-001:batchEmbedContents")
    assert [one["content"]["parts"][0]["text"] for one in json.loads(sent.body)["requests"]] == ["a", "b"]


def test_no_encoding_is_offered_that_the_client_could_not_undo() -> None:
    """An answer in brotli without its decoder is a paid answer that nobody can read."""
    from aiohttp.compression_utils import HAS_BROTLI, HAS_ZSTD

    offered = ACCEPT_ENCODING.split(", ")
    assert ("br" in offered, "zstd" in offered) == (HAS_BROTLI, HAS_ZSTD)
