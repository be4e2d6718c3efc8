"""Google's response schema as JSON Schema.

Comes in: ``generationConfig.responseSchema``, a subset of OpenAPI 3.0 with its own spellings (types in capitals,
``nullable``, numbers as strings; https://ai.google.dev/api/caching#Schema). Goes out: the JSON Schema that says the same. What it has no word
for (``propertyOrdering``, ``example``) says nothing about validity and is left out. Pure; called by ``checked``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["plain_schema"]

_AS_THEY_ARE = ("enum", "required", "pattern", "minimum", "maximum", "title", "description")
_NUMBERS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_OTHER_NAMES = {
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "any_of": "anyOf",
}


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema in the words of JSON Schema; what is odd in it is left out, and so not checked."""
    schema = {_OTHER_NAMES.get(name, name): value for name, value in schema.items()}
    plain: dict[str, Any] = {name: schema[name] for name in _AS_THEY_ARE if schema.get(name) is not None}
    for name in _NUMBERS:
        value = schema.get(name)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int):
            plain[name] = value
    kind = schema.get("type")
    if isinstance(kind, str) and kind.upper() != "TYPE_UNSPECIFIED":
        plain["type"] = kind.lower()
    if isinstance(schema.get("properties"), dict):
        plain["properties"] = {
            name: plain_schema(inner) for name, inner in schema["properties"].items() if isinstance(inner, dict)
        }
    if isinstance(schema.get("items"), dict):
        plain["items"] = plain_schema(schema["items"])
    if isinstance(schema.get("anyOf"), list):
        plain["anyOf"] = [plain_schema(inner) for inner in schema["anyOf"] if isinstance(inner, dict)]
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain
