"""What two forms both have survives the way from one to the other and back; the rest is lost by name alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bucketline.request import Form
from worker.providers.claude import Claude
from worker.providers.forms import PROMPT_READERS
from worker.providers.forms.chat_write import write_chat
from worker.providers.forms.generate_write import write_generate
from worker.providers.forms.messages_write import write_messages
from worker.providers.forms.shapes import merged
from worker.providers.neutral import Media, Output, Part, Prompt, Text, Tool, ToolChoice, ToolResult, ToolUse, Turn

Writer = Callable[[Prompt], tuple[dict[str, Any], list[str]]]
WRITERS: dict[Form, Writer] = {
    Form.CHAT: lambda prompt: write_chat(prompt, "m"),
    Form.MESSAGES: lambda prompt: write_messages(prompt, "m", Claude()),
    Form.GENERATE: lambda prompt: write_generate(prompt, "gemini-3-pro"),
}
#: fields beside the turns that every one of the three forms has
SHARED = ("system", "tool_choice", "max_tokens", "stop", "temperature", "top_p")
#: fields that some have and others must name when they lose them
PARTIAL = {
    "n": (Form.CHAT, Form.GENERATE),
    "seed": (Form.CHAT, Form.GENERATE),
    "presence_penalty": (Form.CHAT, Form.GENERATE),
    "frequency_penalty": (Form.CHAT, Form.GENERATE),
    "logprobs": (Form.CHAT, Form.GENERATE),
    "top_k": (Form.MESSAGES, Form.GENERATE),
    "user": (Form.CHAT, Form.MESSAGES),
    "verbosity": (Form.CHAT,),
    "one_tool_at_a_time": (Form.CHAT, Form.MESSAGES),
}
NAMES = {"one_tool_at_a_time": "parallel_tool_calls"}

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
arguments = st.dictionaries(names, values, max_size=3)
texts = st.builds(Text, words)
images = st.builds(Media, st.just("image"), st.sampled_from(["image/png", "image/webp"]), data=st.just("aGk="))
files = st.builds(Media, st.just("file"), st.just("application/pdf"), data=st.just("aGk="))
schemas = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(names, st.just({"type": "string"}))}
)
tools = st.builds(Tool, names, st.none() | words, schemas)


@st.composite
def turns(draw: st.DrawFn) -> tuple[Turn, ...]:
    """A conversation that roles alternate in: question, answer, and sometimes calls with their results."""
    made: list[Turn] = []
    count = 0
    for _ in range(draw(st.integers(1, 3))):
        asked: list[Part] = draw(st.lists(texts | images | files, min_size=1, max_size=3))
        made.append(Turn("user", tuple(asked)))
        if draw(st.booleans()):
            calls = [
                ToolUse(f"call-{count + at}", draw(names), draw(arguments)) for at in range(draw(st.integers(1, 2)))
            ]
            count += len(calls)
            said = tuple(draw(st.lists(texts, max_size=1)))
            made.append(Turn("assistant", (*said, *calls)))
            results = [ToolResult(call.id, (draw(texts),), call.name) for call in calls]
            made.append(Turn("user", tuple(results)))
        made.append(Turn("assistant", (draw(texts),)))
    return (*made[:-1],) if draw(st.booleans()) else tuple(made)


prompts = st.builds(
    Prompt,
    system=st.lists(words, max_size=2).map(tuple),
    turns=turns(),
    tools=st.lists(tools, min_size=1, max_size=2, unique_by=lambda tool: tool.name).map(tuple),
    tool_choice=st.sampled_from(
        [None, ToolChoice("none"), ToolChoice("required"), ToolChoice("required", ("weather",))]
    ),
    output=st.none() | st.builds(Output, schemas, strict=st.just(True)),
    max_tokens=st.none() | st.integers(1, 10**6),
    stop=st.lists(words, max_size=3).map(tuple),
    temperature=st.none() | st.floats(0, 1, allow_subnormal=False),
    top_p=st.none() | st.floats(0.01, 1),
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(2, 5),
        "seed": st.integers(0, 2**31),
        "presence_penalty": st.floats(0.1, 2),
        "frequency_penalty": st.floats(0.1, 2),
        "logprobs": st.integers(0, 5),
        "top_k": st.integers(1, 100),
        "user": words,
        "verbosity": st.sampled_from(["low", "high"]),
        "one_tool_at_a_time": st.just(True),
    },
)


def there_and_back(prompt: Prompt, form: Form) -> tuple[Prompt, list[str]]:
    body, lost = WRITERS[form](prompt)
    read = PROMPT_READERS[form](json.loads(json.dumps(body)))
    assert not read.lost, "a body of ours has members that our own reader does not know"
    return read, lost


def comparable(prompt: Prompt) -> Any:
    """Turns without what no two forms spell alike: where a turn is cut, a result's name, and JSON text's spacing."""
    return [(turn.role, [_part(part) for part in turn.parts]) for turn in merged(prompt.turns)]


def _part(part: Part) -> Any:
    if not isinstance(part, ToolResult):
        return replace(part, name=None) if isinstance(part, Media) else part
    text = "".join(one.text for one in part.parts if isinstance(one, Text))
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return part.id, value if isinstance(value, dict) else text


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompt=prompts)
def test_what_all_forms_have_comes_back_as_it_went(form: Form, prompt: Prompt) -> None:
    if prompt.max_tokens is None and form is Form.MESSAGES:
        prompt = replace(prompt, max_tokens=100)  # the one form that always has a cap
    back, lost = there_and_back(prompt, form)
    assert not lost
    for name in SHARED:
        assert getattr(back, name) == getattr(prompt, name), name
    assert comparable(back) == comparable(prompt)
    assert [(t.name, t.description, t.parameters) for t in back.tools] == [
        (t.name, t.description, t.parameters) for t in prompt.tools
    ]
    assert (back.output and back.output.schema) == (prompt.output and prompt.output.schema)


@pytest.mark.parametrize("through", WRITERS)
@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompt=prompts)
def test_a_line_that_goes_by_way_of_another_form_asks_the_same(form: Form, through: Form, prompt: Prompt) -> None:
    prompt = replace(prompt, max_tokens=prompt.max_tokens or 100)
    first, _ = there_and_back(prompt, form)
    second, lost = there_and_back(first, through)
    assert not lost
    assert comparable(second) == comparable(first)
    assert [getattr(second, name) for name in SHARED] == [getattr(first, name) for name in SHARED]


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompt=prompts, given_extras=extras)
def test_what_only_some_forms_have_is_kept_or_named(form: Form, prompt: Prompt, given_extras: dict[str, Any]) -> None:
    if prompt.tool_choice == ToolChoice("none"):
        given_extras.pop("one_tool_at_a_time", None)  # no tool at all is not two at a time
    prompt = replace(prompt, **given_extras)
    back, lost = there_and_back(prompt, form)
    for name, value in given_extras.items():
        if form in PARTIAL[name]:
            assert getattr(back, name) == value, name
        else:
            assert NAMES.get(name, name) in lost
