"""OpenAI's chat body, read.

Comes in: the parsed body of a chat line. Goes out: a ``Prompt``. Understands the fields of OpenAI and the two that
Kimi, DeepSeek and others add (``reasoning_content``, ``thinking``). Called where a chat line goes to another wire.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from worker.providers.forms.members import Members
from worker.providers.forms.shapes import arguments_object, declared, guessed_type, parse_data_url
from worker.providers.neutral import (
    Media,
    Output,
    Part,
    Prompt,
    Refusal,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)

__all__ = ["format_of", "media_url", "read_chat", "tool_choice_of"]

_CACHE_HINTS = ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options")


def read_chat(params: dict[str, Any]) -> Prompt:
    """The prompt of a chat body; never raises."""
    body = Members(params)
    body.skip("model", "stream", "stream_options", *_CACHE_HINTS)
    body.skip_if("store", False)
    system, turns = _messages(body)
    top = body.whole("top_logprobs")
    logprobs = body.flag("logprobs")
    cap, newer_cap = body.whole("max_tokens"), body.whole("max_completion_tokens")
    tools = tuple(_tool(tool) for tool in body.each("tools"))
    user = body.text("user")
    thinking = _thinking(body.inner("thinking"))
    prompt = Prompt(
        system=system,
        turns=turns,
        tools=tuple(tool for tool in tools if tool is not None),
        tool_choice=tool_choice_of(body),
        one_tool_at_a_time=body.flag("parallel_tool_calls") is False,
        output=_output(body),
        max_tokens=newer_cap if newer_cap is not None else cap,
        stop=body.strings("stop"),
        temperature=body.number("temperature"),
        top_p=body.number("top_p"),
        n=_unless(body.whole("n"), 1),
        seed=body.whole("seed"),
        presence_penalty=_unless(body.number("presence_penalty"), 0),
        frequency_penalty=_unless(body.number("frequency_penalty"), 0),
        logprobs=(top or 0) if logprobs or top else None,
        effort=body.text("reasoning_effort"),
        thinking_tokens=thinking,
        verbosity=body.text("verbosity"),
        tier=_unless(_unless(body.text("service_tier"), "auto"), "default"),
        user=body.text("safety_identifier") or user,
        metadata=body.texts("metadata"),
    )
    body.finish()
    return replace(prompt, lost=tuple(body.lost))


def _unless(value: Any, default: Any) -> Any:
    """None for what is the default anyway."""
    return None if value == default else value


def _messages(body: Members) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
    system: list[str] = []
    turns: list[Turn] = []
    for message in body.each("messages"):
        role = message.text("role")
        if role == "tool":
            message.skip("name")
        if role in ("system", "developer"):
            texts = _content(message)
            if turns:
                turns.append(Turn("system", texts))
            else:
                system.extend(part.text for part in texts if isinstance(part, Text))
        elif role == "user":
            turns.append(Turn("user", _content(message)))
        elif role == "assistant":
            turns.append(Turn("assistant", _assistant(message)))
        elif role == "tool":
            turns.append(Turn("user", (_tool_result(message),)))
        else:
            message.lose("role", str(role))
    return tuple(system), tuple(turns)


def _assistant(message: Members) -> tuple[Part, ...]:
    parts: list[Part] = []
    thought = message.text("reasoning_content") or message.text("reasoning")
    message.skip("refusal_details", "annotations", "reasoning_details", "audio")
    if thought and thought.strip():
        parts.append(Thought(thought))
    parts.extend(_content(message))
    refusal = message.text("refusal")
    if refusal:
        parts.append(Refusal(refusal))
    for call in message.each("tool_calls"):
        function = call.inner("function")
        call.skip("type", "index")
        parts.append(
            ToolUse(call.text("id") or "", function.text("name") or "", arguments_object(function.take("arguments")))
        )
    return tuple(parts)


def _tool_result(message: Members) -> ToolResult:
    parts = tuple(part for part in _content(message) if isinstance(part, Text | Media))
    return ToolResult(message.text("tool_call_id") or "", parts)


def _content(message: Members) -> tuple[Part, ...]:
    """The parts of ``content``: a string is one text."""
    content = message.take("content")
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),) if content else ()
    parts: list[Part] = []
    for holder in message.several("content", content):
        part = _part(holder)
        if part is not None:
            parts.append(part)
    return tuple(parts)


def _part(part: Members) -> Part | None:
    kind = part.text("type")
    part.skip("cache_control", "annotations")
    match kind:
        case "text":
            return Text(part.text("text") or "")
        case "refusal":
            return Refusal(part.text("refusal") or "")
        case "image_url":
            image = part.inner("image_url")
            return media_url("image", image.text("url"), detail=image.text("detail"))
        case "input_audio":
            audio = part.inner("input_audio")
            return Media("audio", f"audio/{audio.text('format') or 'wav'}", data=audio.text("data"))
        case "file":
            file = part.inner("file")
            if file.take("file_id") is not None:
                file.lose("file_id")
                return None
            return media_url("file", file.text("file_data"), name=file.text("filename"))
        case _:
            part.lose(why=str(kind))
            return None


def media_url(
    kind: Any, url: str | None, *, name: str | None = None, detail: str | None = None, media_type: str = ""
) -> Media:
    """Media from an address: a data URL is taken apart, bare base64 of a file keeps the type of its name."""
    parsed = parse_data_url(url or "")
    detail = None if detail == "auto" else detail
    if parsed is not None:
        return Media(kind, parsed[0], data=parsed[1], name=name, detail=detail)
    if kind == "file" and url and "://" not in url[:16]:
        return Media(kind, guessed_type(name), data=url, name=name)
    return Media(kind, media_type or guessed_type(url), url=url or "", name=name, detail=detail)


def _tool(tool: Members) -> Tool | None:
    kind = tool.text("type")
    tool.skip("cache_control")
    if kind != "function":
        tool.lose(why=str(kind))
        return None
    return declared(tool.inner("function"), "parameters")


def tool_choice_of(body: Members) -> ToolChoice | None:
    """The choice of a tool in OpenAI's forms: a function's name stands in an object of its own, or beside the type."""
    choice = body.take("tool_choice")
    if choice in (None, "auto"):
        return None
    if choice in ("none", "required"):
        return ToolChoice(choice)
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        if isinstance(name, str):
            return ToolChoice("required", (name,))
    body.lose("tool_choice")
    return None


def _output(body: Members) -> Output | None:
    wanted = body.inner("response_format")
    return format_of(wanted, wanted.inner("json_schema"))


def format_of(wanted: Members, inner: Members) -> Output | None:
    """The output shape of a ``response_format`` (the schema one level in) or a ``text.format`` (flat)."""
    kind = wanted.text("type")
    if kind == "json_object":
        return Output()
    schema = inner.object("schema") if kind == "json_schema" else None
    if schema is not None:
        name, strict, description = inner.text("name"), inner.flag("strict"), inner.text("description")
        return Output(schema, name or "answer", strict, description)
    if wanted.given and kind != "text":
        wanted.lose()
    return None


def _thinking(thinking: Members) -> int | None:
    """Kimi's and Anthropic's ``thinking`` where a chat body has it."""
    kind = thinking.text("type")
    if kind == "disabled":
        return 0
    if kind in ("enabled", "adaptive"):
        budget = thinking.whole("budget_tokens")
        return -1 if budget is None else budget
    return None
