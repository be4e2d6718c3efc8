"""Google's generateContent body, written.

Comes in: a ``Prompt`` and the model's name. Goes out: the body, and the names of what it cannot say. The model itself
stands in the path. Called where a line of another form goes to Gemini, by its own API or on Vertex.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bucketline.splice import loads
from worker.providers.forms.shapes import arguments_given, joined_text, merged, tool_names, with_system_first
from worker.providers.neutral import Media, Part, Prompt, Text, ToolResult, ToolUse, Turn

__all__ = ["write_generate"]

_CONFIG = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM"}
_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_LEAST_OF_PRO = 128  #: 2.5 Pro cannot be told not to think


def write_generate(prompt: Prompt, model: str, *, vertex: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The generate body and what it cannot say."""
    lost = [name for name in ("verbosity", "user") if getattr(prompt, name) is not None]
    if prompt.one_tool_at_a_time and prompt.tools:
        lost.append("parallel_tool_calls")
    system, turns = with_system_first(prompt, lost)
    body: dict[str, Any] = {"contents": _contents(turns, tool_names(prompt), lost)}
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    _tools(body, prompt)
    config = _config(prompt, model)
    if config:
        body["generationConfig"] = config
    if prompt.tier in ("flex", "priority"):
        body["serviceTier"] = prompt.tier
    elif prompt.tier is not None:
        lost.append("service_tier")
    if prompt.metadata:
        if vertex and all(_LABEL.fullmatch(part) for pair in prompt.metadata.items() for part in pair):
            body["labels"] = dict(prompt.metadata)
        else:
            lost.append("metadata")
    return body, lost


def _config(prompt: Prompt, model: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for ours, theirs in _CONFIG.items():
        value = getattr(prompt, ours)
        if value is not None:
            config[theirs] = value
    if prompt.stop:
        config["stopSequences"] = list(prompt.stop)
    if prompt.logprobs is not None:
        config["responseLogprobs"] = True
        if prompt.logprobs:
            config["logprobs"] = prompt.logprobs
    if prompt.output is not None:
        config["responseMimeType"] = "application/json"
        if prompt.output.schema is not None:
            config["responseJsonSchema"] = dict(prompt.output.schema)
    thinking = _thinking(prompt, model)
    if thinking:
        config["thinkingConfig"] = thinking
    return config


def _thinking(prompt: Prompt, model: str) -> dict[str, Any]:
    """Levels from Gemini 3 on, a budget before; models before 2.5 do not think and need no word."""
    found = _GENERATION.search(model)
    version = (int(found[1]), int(found[2] or 0)) if found else (3, 0)
    effort, budget = prompt.effort, prompt.thinking_tokens
    made: dict[str, Any] = {}
    if version >= (3, 0):
        level = _level(effort, budget)
        if level:
            made["thinkingLevel"] = level
    elif version >= (2, 5) and (effort is not None or budget is not None):
        tokens = budget if budget is not None else _BUDGETS.get(effort or "", -1)
        made["thinkingBudget"] = max(tokens, _LEAST_OF_PRO) if "pro" in model and tokens >= 0 else tokens
    if prompt.thoughts and version >= (2, 5):
        made["includeThoughts"] = True
    return made


def _level(effort: str | None, budget: int | None) -> str | None:
    if effort is not None:
        return _LEVELS.get(effort, "HIGH")
    if budget is None or budget < 0:
        return None
    for most, level in ((0, "MINIMAL"), (2048, "LOW"), (12288, "MEDIUM")):
        if budget <= most:
            return level
    return "HIGH"


def _tools(body: dict[str, Any], prompt: Prompt) -> None:
    """Tools whose schemas must be kept to, under a free choice, take Google's mode VALIDATED; ANY keeps to them anyway."""
    if prompt.tools:
        declared = []
        for tool in prompt.tools:
            function: dict[str, Any] = {"name": tool.name}
            if tool.description is not None:
                function["description"] = tool.description
            if tool.parameters is not None:
                function["parametersJsonSchema"] = dict(tool.parameters)
            declared.append(function)
        body["tools"] = [{"functionDeclarations": declared}]
    choice = prompt.tool_choice
    calling: dict[str, Any] = {}
    if choice is None:
        if any(tool.strict for tool in prompt.tools):
            calling = {"mode": "VALIDATED"}
    else:
        calling = {"mode": {"auto": "AUTO", "none": "NONE", "required": "ANY"}[choice.mode]}
        if choice.names:
            calling["allowedFunctionNames"] = list(choice.names)
    if calling:
        body["toolConfig"] = {"functionCallingConfig": calling}


def _contents(turns: list[Turn], names: Mapping[str, str], lost: list[str]) -> list[dict[str, Any]]:
    contents = []
    for turn in merged(turns):
        parts = [made for part in turn.parts if (made := _part(part, names, lost)) is not None]
        if parts:
            contents.append({"role": "model" if turn.role == "assistant" else "user", "parts": parts})
    return contents


def _part(part: Part, names: Mapping[str, str], lost: list[str]) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"text": text}
        case Media():
            return _media(part, lost)
        case ToolUse(call_id, name, arguments):
            return {"functionCall": {"id": call_id, "name": name, "args": arguments_given(arguments, lost)}}
        case ToolResult():
            return {"functionResponse": _response(part, names, lost)}
        case _:
            return None


def _response(result: ToolResult, names: Mapping[str, str], lost: list[str]) -> dict[str, Any]:
    """A result must be an object: the text's own where it is one, else the text under ``output`` or ``error``."""
    lost.extend(f"tool result {part.kind}" for part in result.parts if isinstance(part, Media))
    text = joined_text(result.parts)
    response: Any = None
    if not result.is_error:
        try:
            response = loads(text)
        except ValueError:
            response = None
    if not isinstance(response, dict) or _reads_as_wrapped(response):
        response = {"error" if result.is_error else "output": text}
    name = result.name or names.get(result.id, "")
    if not name:
        lost.append("a tool result without its call")
    return {"id": result.id, "name": name or "tool", "response": response}


def _reads_as_wrapped(response: dict[str, Any]) -> bool:
    return len(response) == 1 and any(isinstance(response.get(key), str) for key in ("output", "error"))


def _media(media: Media, lost: list[str]) -> dict[str, Any]:
    if media.detail:
        lost.append("image detail")
    if media.url is not None:
        reference = {"fileUri": media.url}
        if media.media_type:
            reference["mimeType"] = media.media_type
        return {"fileData": reference}
    return {"inlineData": {"mimeType": media.media_type or "application/octet-stream", "data": media.data or ""}}
