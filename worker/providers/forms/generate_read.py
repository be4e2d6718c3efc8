"""Google's generateContent body, read.

Comes in: the parsed body of a generate line, in camel case or snake case, as Google takes both. Goes out: a
``Prompt``. Calls without ids get some, and results are matched to them by name and order. Called where such a line
goes to another wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bucketline.splice import dumps
from worker.providers.forms.members import Members
from worker.providers.forms.shapes import json_schema
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

__all__ = ["generate_parts", "read_generate"]


def read_generate(params: dict[str, Any]) -> Prompt:
    """The prompt of a generate body; never raises."""
    body = Members(params)
    body.skip("model", "stream")
    config = body.inner("generationConfig")
    thinking = config.inner("thinkingConfig")
    choice, strict = _tool_choice(body.inner("toolConfig"))
    wants_logprobs, top = config.flag("responseLogprobs"), config.whole("logprobs")
    candidates, tier = config.whole("candidateCount"), body.text("serviceTier")
    prompt = Prompt(
        system=tuple(_system(body.inner("systemInstruction"))),
        turns=tuple(_turns(body)),
        tools=tuple(replace(tool, strict=True) if strict else tool for tool in _tools(body)),
        tool_choice=choice,
        output=_output(config),
        max_tokens=config.whole("maxOutputTokens"),
        stop=config.strings("stopSequences"),
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=_whole(config.number("topK")),
        n=None if candidates == 1 else candidates,
        seed=config.whole("seed"),
        presence_penalty=config.number("presencePenalty") or None,
        frequency_penalty=config.number("frequencyPenalty") or None,
        logprobs=(top or 0) if wants_logprobs else None,
        effort=_effort(thinking),
        thinking_tokens=thinking.whole("thinkingBudget"),
        thoughts=thinking.flag("includeThoughts") is True,
        tier=tier.lower() if tier and tier.lower() != "standard" else None,
        metadata=body.texts("labels"),
    )
    config.skip_if("responseModalities", ["TEXT"], [])
    body.finish()
    return replace(prompt, lost=tuple(body.lost))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _effort(thinking: Members) -> str | None:
    level = thinking.text("thinkingLevel")
    return level.lower() if level and not level.endswith("UNSPECIFIED") else None


def _system(content: Members) -> Iterator[str]:
    content.skip("role")
    for part in content.each("parts"):
        text = part.text("text")
        if text:
            yield text


def _turns(body: Members) -> Iterator[Turn]:
    open_calls: list[ToolUse] = []
    count = 0
    for content in body.each("contents"):
        role = content.text("role")
        parts: list[Part] = []
        for part in generate_parts(content):
            if isinstance(part, ToolUse):
                count += 1
                part = replace(part, id=part.id or f"call_{count}")  # noqa: PLW2901 - the same part, with its id
                open_calls.append(part)
            elif isinstance(part, ToolResult):
                part = _matched(part, open_calls)  # noqa: PLW2901
            parts.append(part)
        yield Turn("assistant" if role == "model" else "user", tuple(parts))


def _matched(result: ToolResult, open_calls: list[ToolUse]) -> ToolResult:
    """The result with the id of the oldest open call of its name, where it brings none of its own."""
    for call in open_calls:
        if call.id == result.id or (not result.id and call.name == result.name):
            open_calls.remove(call)
            return replace(result, id=call.id)
    return replace(result, id=result.id or f"call_{result.name}")


def generate_parts(content: Members) -> Iterator[Part]:
    """The parts of a content, of a request or an answer."""
    for part in content.each("parts"):
        part.skip("thoughtSignature", "videoMetadata", "partMetadata")
        made = _part(part)
        if made is not None:
            yield made


def _part(part: Members) -> Part | None:
    text = part.text("text")
    if text is not None:
        return Thought(text) if part.flag("thought") else Text(text)
    part.skip("thought")
    call = part.inner("functionCall")
    if call.given:
        return ToolUse(call.text("id") or "", call.text("name") or "", call.object("args") or {})
    response = part.inner("functionResponse")
    if response.given:
        return _response(response)
    blob = part.inner("inlineData")
    if blob.given:
        media_type = (blob.text("mimeType") or "").lower()
        return Media(_kind(media_type), media_type, data=blob.text("data"), name=blob.text("displayName"))
    file = part.inner("fileData")
    if file.given:
        media_type = (file.text("mimeType") or "").lower()
        return Media(_kind(media_type), media_type, url=file.text("fileUri"), name=file.text("displayName"))
    return None


def _kind(media_type: str) -> Any:
    family = media_type.partition("/")[0]
    return family if family in ("image", "audio") else "file"


def _response(response: Members) -> ToolResult:
    value = response.take("response")
    name, call_id = response.text("name") or "", response.text("id") or ""
    if isinstance(value, dict) and len(value) == 1:
        for key in ("output", "error"):
            if isinstance(value.get(key), str):
                return ToolResult(call_id, (Text(value[key]),), name, is_error=key == "error")
    return ToolResult(call_id, (Text(dumps(value).decode("utf-8", "replace")),), name)


def _tools(body: Members) -> Iterator[Tool]:
    for tool in body.each("tools"):
        for declared in tool.each("functionDeclarations"):
            schema, subset = declared.take("parametersJsonSchema"), declared.take("parameters")
            parameters = (
                schema if isinstance(schema, dict) else json_schema(subset) if isinstance(subset, dict) else None
            )
            yield Tool(declared.text("name") or "", declared.text("description"), parameters)


def _tool_choice(config: Members) -> tuple[ToolChoice | None, bool]:
    """The choice, and whether calls must keep to their schemas."""
    calling = config.inner("functionCallingConfig")
    mode, names = calling.text("mode"), calling.strings("allowedFunctionNames")
    match (mode or "AUTO").upper():
        case "ANY":
            return ToolChoice("required", names), False
        case "NONE":
            return ToolChoice("none"), False
        case "VALIDATED":
            return None, True
        case _:
            return None, False


def _output(config: Members) -> Output | None:
    media_type = config.text("responseMimeType")
    schema, subset = config.take("responseJsonSchema"), config.take("responseSchema")
    if isinstance(schema, dict):
        return Output(schema, strict=True)
    if isinstance(subset, dict):
        return Output(json_schema(subset), strict=True)
    if media_type == "application/json":
        return Output()
    if media_type not in (None, "text/plain"):
        config.lose("responseMimeType")
    return None
