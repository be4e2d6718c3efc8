"""Anthropic's Messages body, read.

Comes in: the parsed body of a messages line. Goes out: a ``Prompt``. Called where such a line goes to another wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from worker.providers.forms.members import Members
from worker.providers.forms.shapes import arguments_object, declared
from worker.providers.neutral import (
    Media,
    Output,
    Part,
    Prompt,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)

__all__ = ["read_messages"]


def read_messages(params: dict[str, Any]) -> Prompt:
    """The prompt of a messages body; never raises."""
    body = Members(params)
    body.skip("model", "stream", "anthropic_version", "cache_control")
    output, metadata = body.inner("output_config"), body.inner("metadata")
    budget, shown = _thinking(body.inner("thinking"))
    choice, single = _tool_choice(body.inner("tool_choice"))
    tools = [_tool(tool) for tool in body.each("tools")]
    prompt = Prompt(
        system=tuple(_system(body)),
        turns=tuple(_turns(body)),
        tools=tuple(tool for tool in tools if tool is not None),
        tool_choice=choice,
        one_tool_at_a_time=single,
        output=_output(output.inner("format")) or _output(body.inner("output_format")),
        max_tokens=body.whole("max_tokens"),
        stop=body.strings("stop_sequences"),
        temperature=body.number("temperature"),
        top_p=body.number("top_p"),
        top_k=body.whole("top_k"),
        effort=output.text("effort"),
        thinking_tokens=budget,
        thoughts=shown,
        tier=_tier(body.text("service_tier")),
        user=metadata.text("user_id"),
    )
    body.finish()
    return replace(prompt, lost=tuple(body.lost))


def _tier(tier: str | None) -> str | None:
    return None if tier == "auto" else tier


def _system(body: Members) -> Iterator[str]:
    value = body.take("system")
    if isinstance(value, str):
        if value:
            yield value
        return
    for block in body.several("system", value):
        block.skip("type", "cache_control")
        text = block.text("text")
        if text:
            yield text


def _turns(body: Members) -> Iterator[Turn]:
    for message in body.each("messages"):
        role = message.text("role")
        parts = tuple(_parts(message, "content"))
        if role in ("user", "assistant", "system"):
            yield Turn(role, parts)  # type: ignore[arg-type]
        else:
            message.lose("role", str(role))


def _parts(holder: Members, name: str) -> Iterator[Part]:
    content = holder.take(name)
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for block in holder.several(name, content):
        block.skip("cache_control")
        part = _part(block)
        if part is not None:
            yield part


def _part(block: Members) -> Part | None:
    kind = block.text("type")
    match kind:
        case "text":
            return Text(block.text("text") or "")
        case "image":
            return _media(block, "image")
        case "document":
            return _media(block, "file")
        case "tool_use":
            return ToolUse(block.text("id") or "", block.text("name") or "", arguments_object(block.take("input")))
        case "tool_result":
            call_id, is_error = block.text("tool_use_id") or "", block.flag("is_error") is True
            parts = tuple(part for part in _parts(block, "content") if isinstance(part, Text | Media))
            return ToolResult(call_id, parts, is_error=is_error)
        case "thinking":
            return Thought(block.text("thinking") or "", block.text("signature"))
        case "redacted_thinking":
            block.skip("data")
            return None
        case _:
            block.lose(why=str(kind))
            return None


def _media(block: Members, kind: Any) -> Media | Text | None:
    source = block.inner("source")
    name = block.text("title") if kind == "file" else None
    media_type = source.text("media_type") or ""
    match source.text("type"):
        case "base64":
            return Media(kind, media_type, data=source.text("data"), name=name)
        case "url":
            return Media(
                kind, media_type or ("application/pdf" if kind == "file" else ""), url=source.text("url"), name=name
            )
        case "text":
            return Text(source.text("data") or "")
        case other:
            source.lose(why=str(other))
            return None


def _tool(tool: Members) -> Tool | None:
    kind = tool.text("type")
    tool.skip("cache_control", "eager_input_streaming")
    if kind not in (None, "custom"):
        tool.lose(why=str(kind))
        return None
    return declared(tool, "input_schema")


def _tool_choice(choice: Members) -> tuple[ToolChoice | None, bool]:
    """The choice, and whether one tool at a time is asked for."""
    kind = choice.text("type")
    single = choice.flag("disable_parallel_tool_use") is True
    match kind:
        case None | "auto":
            return None, single
        case "any":
            return ToolChoice("required"), single
        case "none":
            return ToolChoice("none"), single
        case "tool":
            return ToolChoice("required", (choice.text("name") or "",)), single
        case _:
            choice.lose(why=kind)
            return None, single


def _output(wanted: Members) -> Output | None:
    schema = wanted.object("schema") if wanted.text("type") == "json_schema" else None
    if schema is not None:
        return Output(schema, strict=True)
    if wanted.given:
        wanted.lose()
    return None


def _thinking(thinking: Members) -> tuple[int | None, bool]:
    """The budget, and whether the reasoning is to be shown."""
    kind, display = thinking.text("type"), thinking.text("display")
    match kind:
        case "enabled":
            return thinking.whole("budget_tokens"), display != "omitted"
        case "adaptive":
            return -1, display != "omitted"
        case "disabled":
            return 0, False
        case None:
            return None, False
        case _:
            thinking.lose(why=kind)
            return None, False
