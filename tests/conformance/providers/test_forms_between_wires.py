"""Any form of line to any wire and back: what we write, the wire's own SDK could have written; what comes back, the
line's own SDK can read; what cannot be said is named.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bucketline.failure import Failure, Kind
from bucketline.request import Form
from tests.conformance.providers.official import judge_answer, judge_request
from tests.samples import Sample, line, reply, route, sample, samples
from worker.providers import Answer, adapter_for

MODELS = {
    "openai": "alpha-small",
    "anthropic": "claude-sonnet-4-6",
    "gemini": "gemini-3-flash-preview",
    "vertex": "gemini-2.5-flash",
    "bedrock": "anthropic.claude-sonnet-4-6-v1:0",
}
LINES = [one for one in samples("request") if one.wire != "bedrock" and "embed" not in one.schema]
OWN = {Form.MESSAGES: ("anthropic",), Form.GENERATE: ("gemini", "vertex")}
#: what each wire has no word for in each of the fixtures; everything else is said
LOST = {
    ("anthropic/req.messages", "gemini"): {"user"},
    ("anthropic/req.messages", "vertex"): {"user"},
    ("anthropic/req.messages", "bedrock"): {"user"},
    ("anthropic/req.messages.tool_loop", "gemini"): {"parallel_tool_calls"},
    ("anthropic/req.messages.tool_loop", "vertex"): {"parallel_tool_calls"},
    ("anthropic/req.messages.tool_loop", "bedrock"): {"parallel_tool_calls"},
    ("gemini/req.generate", "openai"): {"safetySettings"},
    ("gemini/req.generate", "anthropic"): {"safetySettings"},
    ("gemini/req.generate", "bedrock"): {"safetySettings"},
    ("openai/req.chat.structured", "anthropic"): {"image detail", "metadata"},
    ("openai/req.chat.structured", "gemini"): {"image detail", "metadata"},
    ("openai/req.chat.structured", "vertex"): {"image detail"},
    ("openai/req.chat.structured", "bedrock"): {"image detail"},
    ("openai/req.chat.tools", "gemini"): {"parallel_tool_calls"},
    ("openai/req.chat.tools", "vertex"): {"parallel_tool_calls"},
    ("openai/req.chat.tools", "bedrock"): {"parallel_tool_calls"},
    ("openai/req.responses", "anthropic"): {"verbosity", "image detail"},
    ("openai/req.responses", "gemini"): {"verbosity", "image detail", "parallel_tool_calls"},
    ("openai/req.responses", "vertex"): {"verbosity", "image detail", "parallel_tool_calls"},
    ("openai/req.responses", "bedrock"): {"verbosity", "image detail", "parallel_tool_calls"},
    ("vertex/req.generate", "openai"): {"image by address"},
    ("vertex/req.generate", "anthropic"): {"image by address", "metadata"},
    ("vertex/req.generate", "bedrock"): {"image by address"},
}


@pytest.mark.parametrize("wire", MODELS)
@pytest.mark.parametrize("one", LINES, ids=lambda one: one.name)
def test_a_line_of_any_form_becomes_a_request_of_any_wire(one: Sample, wire: str) -> None:
    way = route(wire, MODELS[wire], region="eu-west-1", project="p", drop=True)
    request = line(one.form, one.document["body"])
    adapter = adapter_for(wire)
    call = adapter.call(request, way, "k")
    assert not isinstance(call, Failure)
    if not (one.form is Form.RESPONSES and wire == "openai"):
        judge_request(wire, json.loads(call.body) | ({"model": MODELS[wire]} if wire == "openai" else {}))
    own = wire in OWN.get(one.form, ("openai",))
    expected = set() if own else LOST.get((one.name, wire), set())
    assert set(adapter.refused(request, way)) == expected


def test_a_line_that_cannot_be_said_is_refused_by_name_unless_the_route_drops() -> None:
    request = line(Form.CHAT, {"model": "m", "messages": [{"role": "user", "content": "hi"}], "seed": 7, "n": 2})
    refused = adapter_for("anthropic").call(request, route("anthropic", "claude-sonnet-4-6"), "k")
    assert isinstance(refused, Failure)
    assert refused.kind is Kind.INEXPRESSIBLE
    assert "n, seed" in refused.message
    dropped = adapter_for("anthropic").call(request, route("anthropic", "claude-sonnet-4-6", drop=True), "k")
    assert not isinstance(dropped, Failure)
    assert not {"n", "seed"} & set(json.loads(dropped.body))


def test_a_member_that_nobody_knows_is_named_and_not_lost() -> None:
    """A form grows faster than a translator; silence about a new member would change answers unseen."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi", "new_mark": 1}]}]
    tools = [{"type": "function", "function": {"name": "w", "parameters": "none", "new_switch": True}}]
    request = line(Form.CHAT, {"model": "m", "messages": messages, "tools": tools, "newest_parameter": {"a": 1}})
    names = adapter_for("gemini").refused(request, route("gemini", "gemini-3-pro"))
    of_the_tool = {"tools[0].function.new_switch", "tools[0].function.parameters"}
    assert set(names) == {"messages[0].content[0].new_mark", "newest_parameter", *of_the_tool}


#: members whose insides are the user's own or mean nothing to an answer
FREE = {
    "schema", "parameters", "parametersJsonSchema", "responseJsonSchema", "input_schema", "cache_control", "metadata",
    "labels", "args", "response", "safetySettings",
}  # fmt: skip


@pytest.mark.parametrize("one", LINES, ids=lambda one: one.name)
def test_a_member_that_nobody_knows_is_named_wherever_in_a_line_it_stands(one: Sample) -> None:
    wire = "bedrock" if one.form is not Form.GENERATE else "openai"
    way = route(wire, MODELS[wire], region="eu-west-1")
    for steps in objects_in(one.document["body"]):
        body = copy.deepcopy(one.document["body"])
        holder = body
        for step in steps:
            holder = holder[step]
        holder["newest"] = {"a": 1}
        names = adapter_for(wire).refused(line(one.form, body), way)
        assert any(name.rpartition(".")[2] == "newest" for name in names), f"lost in silence at {steps}"


def objects_in(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each object of a body, but for the free ones; a tool's input stands beside its name."""
    if isinstance(value, dict):
        yield steps
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in members:
        if step not in FREE and not (step == "input" and "name" in value):
            yield from objects_in(inner, (*steps, step))


ANSWERS = [
    "openai/res.chat.stop", "openai/res.chat.tool_calls", "openai/res.chat.length_json_cut",
    "moonshot/res.chat.k2_thinking", "compat/mistral.res.chat", "edge/content_parts.200", "edge/usage_null.200",
    "anthropic/res.message.end_turn", "anthropic/res.message.tool_use", "anthropic/res.message.max_tokens",
    "anthropic/res.message.stop_sequence", "gemini/res.generate.stop", "gemini/res.generate.function_call",
    "gemini/res.generate.thought_parts", "gemini/res.generate.tool_use_prompt", "vertex/res.generate.stop",
    "bedrock/res.converse.end_turn", "bedrock/res.converse.tool_use",
]  # fmt: skip
PROMPTS = {
    Form.CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    Form.RESPONSES: {"model": "m", "input": "hi"},
    Form.MESSAGES: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    Form.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


@pytest.mark.parametrize("form", PROMPTS)
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_any_wire_is_read_by_the_sdk_of_the_line(name: str, form: Form) -> None:
    one = sample(name)
    if one.wire == "openai" and form is Form.RESPONSES:
        return  # the wire's own form; that host would have answered in it
    if name == "edge/content_parts.200" and form is Form.CHAT:
        return  # passes through as it came, and the SDK would have refused it from the host too
    result = adapter_for(one.wire).read(one.reply, line(form, PROMPTS[form]), route(one.wire, "m", one.host))
    assert isinstance(result, Answer)
    judge_answer(form, json.loads(result.body))
    if form is not one.form or one.wire == "bedrock":
        assert result.raw == one.reply.body


def test_a_chat_line_answered_by_claude_reads_as_a_chat_completion() -> None:
    """Reasoning, call, reason to end and counts, each in its place; the provider's own word kept beside."""
    one = sample("anthropic/res.message.tool_use")
    result = adapter_for("anthropic").read(one.reply, line(Form.CHAT, PROMPTS[Form.CHAT]), route("anthropic", "m"))
    assert isinstance(result, Answer)
    body = json.loads(result.body)
    choice = body["choices"][0]
    assert choice["message"]["reasoning_content"] == "Short."
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("tool_calls", "tool_use")
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 20


def test_a_messages_line_answered_by_a_chat_host_keeps_its_counts_apart() -> None:
    """Anthropic's ``input_tokens`` leaves out what a cache served, so a client that adds the three must get the sum."""
    one = sample("openai/res.chat.stop")
    result = adapter_for("openai").read(one.reply, line(Form.MESSAGES, PROMPTS[Form.MESSAGES]), route("openai", "m"))
    assert isinstance(result, Answer)
    usage = json.loads(result.body)["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (476, 1024)


def test_a_chat_line_that_asks_for_several_answers_gets_them_from_gemini() -> None:
    body = {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": word}]}, "finishReason": "STOP", "index": at}
            for at, word in enumerate(("one", "two"))
        ],
        "modelVersion": "g",
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    }
    result = adapter_for("gemini").read(reply(200, body), line(Form.CHAT, PROMPTS[Form.CHAT]), route("gemini", "g"))
    assert isinstance(result, Answer)
    assert [c["message"]["content"] for c in json.loads(result.body)["choices"]] == ["one", "two"]
