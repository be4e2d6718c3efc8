"""OpenAI's Responses body, read.

Comes in: the parsed body of a responses line. Goes out: a ``Prompt``. What lives on OpenAI's servers (earlier
responses, stored prompts, conversations, hosted tools) is lost by name. Called where such a line goes to another wire,
or to a host of OpenAI's wire that has chat alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from worker.providers.forms.chat_read import format_of, media_url, tool_choice_of
from worker.providers.forms.members import Members
from worker.providers.forms.shapes import arguments_object, declared
from worker.providers.neutral import (
    Media,
    Output,
    Part,
    Prompt,
    Refusal,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)

__all__ = ["read_responses"]


def read_responses(params: dict[str, Any]) -> Prompt:
    """The prompt of a responses body; never raises."""
    body = Members(params)
    body.skip("model", "stream", "stream_options", "prompt_cache_key", "prompt_cache_retention", "include")
    body.skip_if("store", False)
    body.skip_if("background", False)
    body.skip_if("truncation", "disabled")
    system, turns = _input(body)
    text, reasoning = body.inner("text"), body.inner("reasoning")
    output = _output(text)
    tools = [_tool(tool) for tool in body.each("tools")]
    reasoning.skip("summary", "generate_summary")
    top = body.whole("top_logprobs")
    user = body.text("user")
    prompt = Prompt(
        system=system,
        turns=turns,
        tools=tuple(tool for tool in tools if tool is not None),
        tool_choice=tool_choice_of(body),
        one_tool_at_a_time=body.flag("parallel_tool_calls") is False,
        output=output,
        max_tokens=body.whole("max_output_tokens"),
        temperature=body.number("temperature"),
        top_p=body.number("top_p"),
        logprobs=top or None,
        effort=reasoning.text("effort"),
        verbosity=text.text("verbosity"),
        tier=_tier(body.text("service_tier")),
        user=body.text("safety_identifier") or user,
        metadata=body.texts("metadata"),
    )
    body.finish()
    return replace(prompt, lost=tuple(body.lost))


def _tier(tier: str | None) -> str | None:
    return None if tier in ("auto", "default") else tier


def _output(text: Members) -> Output | None:
    wanted = text.inner("format")
    return format_of(wanted, wanted)


def _input(body: Members) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
    instructions = body.text("instructions")
    system = [instructions] if instructions else []
    value = body.take("input")
    if isinstance(value, str):
        return tuple(system), (Turn("user", (Text(value),)),)
    turns: list[Turn] = []
    for item in body.several("input", value):
        turn = _item(item)
        if turn is None:
            continue
        if turn.role == "system" and not turns:
            system.extend(part.text for part in turn.parts if isinstance(part, Text))
        elif turns and turn.role == "assistant" == turns[-1].role:
            turns[-1] = Turn("assistant", turns[-1].parts + turn.parts)
        else:
            turns.append(turn)
    return tuple(system), tuple(turns)


def _item(item: Members) -> Turn | None:
    kind = item.text("type") or "message"
    item.skip("id", "status", "phase")
    match kind:
        case "message":
            role = item.text("role")
            parts = _content(item)
            if role in ("system", "developer"):
                return Turn("system", parts)
            return Turn("assistant" if role == "assistant" else "user", parts)
        case "function_call":
            name = item.text("name") or ""
            return Turn(
                "assistant", (ToolUse(item.text("call_id") or "", name, arguments_object(item.take("arguments"))),)
            )
        case "function_call_output":
            return Turn("user", (_result(item),))
        case "reasoning":
            words = "".join(part.text("text") or "" for part in item.each("summary"))
            return Turn("assistant", (Thought(words),)) if words else None
        case _:
            item.lose(why=kind)
            return None


def _result(item: Members) -> ToolResult:
    output = item.take("output")
    call_id = item.text("call_id") or ""
    if isinstance(output, str):
        return ToolResult(call_id, (Text(output),))
    parts = [_part(part) for part in item.several("output", output)]
    return ToolResult(call_id, tuple(part for part in parts if isinstance(part, Text | Media)))


def _content(item: Members) -> tuple[Part, ...]:
    content = item.take("content")
    if isinstance(content, str):
        return (Text(content),)
    parts: list[Part] = []
    for holder in item.several("content", content):
        holder.skip("annotations", "logprobs")
        part = _part(holder)
        if part is not None:
            parts.append(part)
    return tuple(parts)


def _part(part: Members) -> Part | None:
    kind = part.text("type")
    match kind:
        case "input_text" | "output_text" | "text":
            return Text(part.text("text") or "")
        case "refusal":
            return Refusal(part.text("refusal") or "")
        case "input_image" if part.take("file_id") is None:
            return media_url("image", part.text("image_url"), detail=part.text("detail"))
        case "input_file" if part.take("file_id") is None:
            data = part.text("file_data") or part.text("file_url")
            return media_url("file", data, name=part.text("filename"))
        case _:
            part.lose(why=str(kind))
            return None


def _tool(tool: Members) -> Tool | None:
    kind = tool.text("type")
    if kind != "function":
        tool.lose(why=str(kind))
        return None
    return declared(tool, "parameters")
