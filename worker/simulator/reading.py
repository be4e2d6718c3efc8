"""How much text a request holds, by one simple rule for every wire.

A token is four bytes. The input counts the UTF-8 bytes of every string the model is given (messages, system, tools,
arguments, results), but not of roles, types, ids and marks; an image, a file or a sound counts as 340 bytes whatever
its size. The wires call these while they read a body; the books bill by them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker.simulator.talk import Invalid, Tool

__all__ = ["chosen_tool", "count", "last_text", "require_list", "text_of", "tokens_of", "utf8_bytes", "weigh"]

_BYTES_OF_A_TOKEN: Final = 4
_BYTES_OF_A_PICTURE: Final = 340
_PICTURES: Final = frozenset({
    "audio", "document", "file", "fileData", "file_data", "image", "image_url", "inlineData", "inline_data",
    "input_audio", "source", "video",
})  # fmt: skip
_MARKS: Final = frozenset({
    "annotations", "cachePoint", "cache_control", "call_id", "detail", "encrypted_content", "id", "role", "signature",
    "status", "strict", "thoughtSignature", "toolUseId", "tool_call_id", "tool_use_id", "type",
})  # fmt: skip


def tokens_of(byte_count: int) -> int:
    """Tokens of so many bytes, a begun one counting whole."""
    return -(-byte_count // _BYTES_OF_A_TOKEN)


def utf8_bytes(text: str) -> int:
    """Bytes of a text; a lone surrogate counts three, as it does in CESU."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def weigh(value: Any) -> int:
    """Bytes of all text inside a JSON value."""
    if isinstance(value, str):
        return utf8_bytes(value)
    if isinstance(value, dict):
        total = 0
        for name, inner in value.items():
            if name in _PICTURES and isinstance(inner, dict | str):
                total += _BYTES_OF_A_PICTURE
            elif name not in _MARKS:
                total += weigh(inner)
        return total
    return sum(map(weigh, value)) if isinstance(value, list) else 0


def text_of(content: Any) -> str:
    """The text of a content: a string, or a list of parts of which some have ``text``."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(text for part in content if (text := text_of(part)))
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content") or "")
    return ""


def last_text(turns: list[Any], name: str) -> str:
    """The text of the last turn that has one under ``name``."""
    for turn in reversed(turns):
        if isinstance(turn, dict) and (text := text_of(turn.get(name))):
            return text
    return ""


def chosen_tool(tools: list[Tool], *, forced: str | None, required: bool, prompt: str) -> Tool | None:
    """The tool the answer calls: the one named, the first if one is required, otherwise the first whose name the
    last turn of the user says; a turn that brings a tool's result has no prompt and calls none.
    """
    if forced is not None:
        return next((tool for tool in tools if tool.name == forced), None)
    if required and tools:
        return tools[0]
    words = prompt.lower()
    return next((tool for tool in tools if tool.name and tool.name.lower() in words), None)


def count(body: Mapping[str, Any], *names: str, least: int = 1) -> int | None:
    """The first of these fields that is there and not null, which must be a whole number of at least ``least``."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise Invalid(f"Invalid value for '{name}': expected an integer of at least {least}.", name)
        return value
    return None


def require_list(body: Mapping[str, Any], name: str) -> list[Any]:
    """A field that must be a list with something in it."""
    value = body.get(name)
    if value is None:
        raise Invalid(f"Missing required parameter: '{name}'.", name)
    if not isinstance(value, list) or not value:
        raise Invalid(f"Invalid value for '{name}': expected an array with at least one element.", name)
    return value
