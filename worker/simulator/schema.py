"""A value that satisfies a JSON Schema, in the simple cases that tools and structured answers are made of.

In: a schema (draft 2020-12 or the OpenAPI subset with upper-case types) and a text to fill strings with. Out: the
smallest value that fits: required properties only, first enum member, first alternative, lower bounds. Follows local
``$ref``; ignores ``pattern``, ``format`` and conditions. ``author`` calls it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["example"]

_DEEPEST: Final = 16  #: a schema that refers to itself ends here, in null


def example(schema: Any, filler: str) -> Any:
    """A value for the schema; strings are ``filler``, lengthened or cut to their bounds."""
    return _value(schema, schema, filler, 0)


def _value(schema: Any, root: Any, filler: str, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return filler if schema is True else None
    if "$ref" in schema:
        return _value(_target(root, schema["$ref"]), root, filler, depth + 1)
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            return _value(schema[name][0], root, filler, depth + 1)
    if schema.get("allOf"):
        schema = _merged(schema, root)
    return _of_type(schema, root, filler, depth)


def _of_type(schema: Mapping[str, Any], root: Any, filler: str, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = str(kind[0] if isinstance(kind, list) and kind else kind).lower()
    if kind == "object":
        properties = schema.get("properties") or {}
        names = schema.get("required") or (properties if schema.get("additionalProperties") is False else ())
        return {name: _value(properties.get(name, True), root, filler, depth + 1) for name in names}
    if kind == "array":
        least = max(int(schema.get("minItems", 0)), 1 if depth < _DEEPEST // 2 else 0)
        items = schema.get("items", True)
        return [_value(items, root, filler, depth + 1) for _ in range(min(least, int(schema.get("maxItems", least))))]
    if kind in {"integer", "number"}:
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    return None if kind == "null" else _text(schema, filler)


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and schema.get("exclusiveMinimum") is not None:
        low = schema["exclusiveMinimum"] + 1
    if low is None:
        low = high if high is not None and high < 1 else 1
    step = schema.get("multipleOf")
    value = math.ceil(low / step) * step if step else low
    return math.ceil(value) if whole else value


def _text(schema: Mapping[str, Any], filler: str) -> str:
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 10**6))
    return filler.ljust(least, ".")[:most]


def _target(root: Any, pointer: Any) -> Any:
    """What a local reference (``#/$defs/Name``) points at; nothing if it points elsewhere."""
    here = root
    for step in str(pointer).removeprefix("#").strip("/").split("/"):
        if step:
            name = step.replace("~1", "/").replace("~0", "~")
            here = here.get(name) if isinstance(here, Mapping) else None
    return here


def _merged(schema: Mapping[str, Any], root: Any) -> dict[str, Any]:
    """Objects of an ``allOf`` laid over one another."""
    whole: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    properties, required = dict(whole.get("properties") or {}), list(whole.get("required") or ())
    for part in schema["allOf"]:
        target = _target(root, part["$ref"]) if isinstance(part, Mapping) and "$ref" in part else part
        if isinstance(target, Mapping):
            whole = {**target, **whole}
            properties |= target.get("properties") or {}
            required += target.get("required") or ()
    return whole | {"properties": properties, "required": required}
