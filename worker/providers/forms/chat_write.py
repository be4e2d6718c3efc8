"""OpenAI's chat body, written: the form of most hosts.

Comes in: a ``Prompt``, the model and the host's quirks. Goes out: the body, and the names of what the form has no
field for. Called where a line of another form goes to a host of OpenAI's wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.providers.forms.shapes import chat_calls, data_url, fetchable, joined_text, plain_text
from worker.providers.neutral import (
    Media,
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

__all__ = ["write_chat"]


def write_chat(prompt: Prompt, model: str, *, keeps_reasoning: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The chat body and what it cannot say. ``keeps_reasoning``: each call of a tool carries its reasoning (Kimi)."""
    lost: list[str] = []
    messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in prompt.system]
    for turn in prompt.turns:
        messages.extend(_turn(turn, lost, keeps_reasoning=keeps_reasoning))
    body: dict[str, Any] = {"model": model, "messages": messages}
    _set_plain(body, prompt)
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
    if prompt.tool_choice is not None:
        body["tool_choice"] = _choice(prompt.tool_choice, lost)
    if prompt.one_tool_at_a_time:
        body["parallel_tool_calls"] = False
    if prompt.output is not None:
        body["response_format"] = _format(prompt)
    if prompt.logprobs is not None:
        body["logprobs"] = True
        if prompt.logprobs:
            body["top_logprobs"] = prompt.logprobs
    effort = prompt.effort or _effort(prompt.thinking_tokens)
    if effort:
        body["reasoning_effort"] = effort
    if prompt.metadata:
        body["metadata"] = dict(prompt.metadata)
    if prompt.top_k is not None:
        lost.append("top_k")
    return body, lost


_PLAIN = {
    "max_tokens": "max_tokens",  # known to every host; those that want the newer name have a quirk for it
    "temperature": "temperature",
    "top_p": "top_p",
    "n": "n",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "verbosity": "verbosity",
    "tier": "service_tier",
    "user": "user",
}


def _set_plain(body: dict[str, Any], prompt: Prompt) -> None:
    for ours, theirs in _PLAIN.items():
        value = getattr(prompt, ours)
        if value is not None:
            body[theirs] = value
    if prompt.stop:
        body["stop"] = list(prompt.stop)


def _effort(thinking_tokens: int | None) -> str | None:
    """The effort that a thinking budget comes to; the model's own choice needs no word."""
    if thinking_tokens is None or thinking_tokens < 0:
        return None
    for most, effort in ((0, "none"), (2048, "low"), (12288, "medium")):
        if thinking_tokens <= most:
            return effort
    return "high"


def _turn(turn: Turn, lost: list[str], *, keeps_reasoning: bool) -> Iterable[dict[str, Any]]:
    if turn.role == "assistant":
        yield _assistant(turn, lost, keeps_reasoning=keeps_reasoning)
        return
    rest: list[Part] = []
    for part in turn.parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.id, "content": _result(part, lost)}
        else:
            rest.append(part)
    if rest or not turn.parts:
        yield {"role": turn.role, "content": _content(rest, lost)}


def _assistant(turn: Turn, lost: list[str], *, keeps_reasoning: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    said: list[Part] = [part for part in turn.parts if isinstance(part, Text | Media)]
    if said:
        message["content"] = _content(said, lost)
    refusal = "".join(part.text for part in turn.parts if isinstance(part, Refusal))
    if refusal:
        message["refusal"] = refusal
    calls = [part for part in turn.parts if isinstance(part, ToolUse)]
    if calls:
        message["tool_calls"] = chat_calls(calls)
        if keeps_reasoning:
            thought = "".join(part.text for part in turn.parts if isinstance(part, Thought))
            message["reasoning_content"] = thought or " "
    elif message["content"] is None and not refusal:
        message["content"] = ""
    return message


def _result(result: ToolResult, lost: list[str]) -> str:
    lost.extend(f"tool result {part.kind}" for part in result.parts if isinstance(part, Media))
    text = joined_text(result.parts)
    return f"Error: {text}" if result.is_error else text


def _content(parts: list[Part], lost: list[str]) -> str | list[dict[str, Any]]:
    text = plain_text(parts)
    if text is not None:
        return text
    return [written for part in parts if (written := _part(part, lost)) is not None]


def _part(part: Part, lost: list[str]) -> dict[str, Any] | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if not isinstance(part, Media):
        return None
    if part.kind == "image" and fetchable(part):
        image = {"url": data_url(part)}
        if part.detail:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if part.kind == "audio" and part.data is not None:
        sound = part.media_type.rpartition("/")[2]
        return {
            "type": "input_audio",
            "input_audio": {"data": part.data, "format": "mp3" if sound == "mpeg" else sound},
        }
    if part.kind == "file" and part.data is not None:
        return {"type": "file", "file": {"filename": part.name or "file.pdf", "file_data": data_url(part)}}
    lost.append(f"{part.kind} by address")
    return None


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = dict(tool.parameters)
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice, lost: list[str]) -> str | dict[str, Any]:
    if choice.mode != "required" or not choice.names:
        return choice.mode
    if len(choice.names) > 1:
        lost.append("tool_choice (several names)")
    return {"type": "function", "function": {"name": choice.names[0]}}


def _format(prompt: Prompt) -> dict[str, Any]:
    output = prompt.output
    if output is None or output.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": output.name, "schema": dict(output.schema)}
    if output.strict is not None:
        schema["strict"] = output.strict
    if output.description is not None:
        schema["description"] = output.description
    return {"type": "json_schema", "json_schema": schema}
