"""Small shapes that several forms share: data URLs, media types, arguments, schemas, turns in a row.

Comes in and goes out: single values of a body. Pure; called by the readers and writers of ``forms``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bucketline.splice import dumps, loads
from worker.providers.forms.members import Members
from worker.providers.neutral import Media, Output, Part, Prompt, Text, Tool, ToolResult, ToolUse, Turn

__all__ = [
    "arguments_given",
    "arguments_object",
    "arguments_text",
    "chat_calls",
    "data_url",
    "declared",
    "fetchable",
    "guessed_type",
    "joined_text",
    "json_schema",
    "merged",
    "parse_data_url",
    "plain_text",
    "safe_ids",
    "schema_asked",
    "tool_names",
    "with_system_first",
]

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,=]+=[^;,]*)*;base64,", re.IGNORECASE)
_TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html",
    "wav": "audio/wav", "mp3": "audio/mp3", "flac": "audio/flac", "mp4": "video/mp4", "json": "application/json",
}  # fmt: skip
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")


def parse_data_url(url: str) -> tuple[str, str] | None:
    """``data:image/png;base64,…`` → its media type and its base64; None for any other address."""
    found = _DATA_URL.match(url)
    return None if found is None else (found[1].lower(), url[found.end() :])


def data_url(media: Media) -> str:
    """The media as one address, whichever way it is held."""
    return media.url if media.url is not None else f"data:{media.media_type};base64,{media.data or ''}"


def fetchable(media: Media) -> bool:
    """Whether any provider can get at the media: held in the line, or on the web, not in one cloud's bucket."""
    return media.url is None or media.url.startswith(("http://", "https://"))


def guessed_type(name: str | None) -> str:
    """The media type that a file name or an address suggests, empty where it suggests none."""
    ending = (name or "").partition("?")[0].rpartition(".")[2].lower()
    return _TYPES.get(ending, "")


def arguments_object(text: Any) -> Mapping[str, Any] | str:
    """A tool call's arguments as an object; the text itself where it is none. Nothing at all is an empty object."""
    if isinstance(text, dict):
        return text
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        value = loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def arguments_given(arguments: Mapping[str, Any] | str, lost: list[str]) -> dict[str, Any]:
    """A tool call's arguments for wires that take an object alone; text that is none is named, and goes in one."""
    if isinstance(arguments, str):
        lost.append("tool call arguments that are no JSON object")
        return {"arguments": arguments}
    return dict(arguments)


def arguments_text(arguments: Mapping[str, Any] | str) -> str:
    """A tool call's arguments as the JSON text that OpenAI's forms want."""
    return arguments if isinstance(arguments, str) else dumps(dict(arguments)).decode("utf-8", "replace")


def joined_text(parts: Iterable[Part]) -> str:
    """The words of the parts, put together."""
    return "".join(part.text for part in parts if isinstance(part, Text))


def plain_text(parts: Iterable[Part]) -> str | None:
    """The one text that the parts are, None when they are more than text."""
    listed = list(parts)
    return listed[0].text if len(listed) == 1 and isinstance(listed[0], Text) else None


def merged(turns: Iterable[Turn]) -> list[Turn]:
    """Turns of one role in a row made one, tool results first, for wires where roles must alternate."""
    rows: list[Turn] = []
    for turn in turns:
        if rows and rows[-1].role == turn.role:
            rows[-1] = replace(rows[-1], parts=rows[-1].parts + turn.parts)
        else:
            rows.append(turn)
    return [replace(turn, parts=_results_first(turn.parts)) for turn in rows]


def _results_first(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    return results + tuple(part for part in parts if not isinstance(part, ToolResult)) if results else parts


def with_system_first(prompt: Prompt, lost: list[str]) -> tuple[list[str], list[Turn]]:
    """System texts and the other turns, for wires where a system text stands before all turns; a later one is named."""
    system, turns = list(prompt.system), []
    for turn in prompt.turns:
        if turn.role == "system":
            lost.append("a system message behind the first turn")
            system.extend(part.text for part in turn.parts if isinstance(part, Text))
        else:
            turns.append(turn)
    return system, turns


def schema_asked(prompt: Prompt, lost: list[str]) -> Output | None:
    """The JSON schema that the answer must fit, for wires that have no JSON without one."""
    if prompt.output is not None and prompt.output.schema is None:
        lost.append("JSON output without a schema")
        return None
    return prompt.output


def declared(function: Members, schema: str) -> Tool:
    """A function that the model may call, as all providers declare one; only the name of the schema differs."""
    parameters = function.object(schema)
    return Tool(function.text("name") or "", function.text("description"), parameters, function.flag("strict") is True)


def chat_calls(calls: Iterable[ToolUse]) -> list[dict[str, Any]]:
    """Calls of tools as OpenAI's chat has them, in a question and in an answer."""
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": arguments_text(call.arguments)},
        }
        for call in calls
    ]


def tool_names(prompt: Prompt) -> dict[str, str]:
    """Call id → the function's name, from the calls of earlier turns."""
    return {part.id: part.name for turn in prompt.turns for part in turn.parts if isinstance(part, ToolUse)}


def safe_ids(prompt: Prompt) -> dict[str, str]:
    """Call id → an id of letters, digits, ``_`` and ``-`` alone, one to one, as Anthropic and Bedrock want them."""
    safe: dict[str, str] = {}
    used: set[str] = set()
    for turn in prompt.turns:
        for part in turn.parts:
            if isinstance(part, ToolUse | ToolResult) and part.id not in safe:
                candidate = base = _BAD_ID.sub("_", part.id)[:60] or "call"
                count = 1
                while candidate in used:
                    count += 1
                    candidate = f"{base}_{count}"
                used.add(candidate)
                safe[part.id] = candidate
    return safe


def json_schema(schema: Any) -> Any:
    """Google's OpenAPI subset as JSON Schema: type names in lower case, ``nullable`` as a type."""
    if isinstance(schema, list):
        return [json_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "type" and isinstance(value, str):
            made[name] = value.lower()
        elif name in ("properties", "$defs", "defs") and isinstance(value, dict):
            made[name] = {key: json_schema(one) for key, one in value.items()}
        elif name in ("items", "anyOf", "any_of", "prefixItems"):
            made["anyOf" if name == "any_of" else name] = json_schema(value)
        elif name not in ("nullable", "propertyOrdering", "property_ordering"):
            made[name] = value
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made
