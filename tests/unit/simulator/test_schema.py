"""A structured answer satisfies its schema in the cases that people write."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from worker.simulator.schema import example

_NESTED: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["label", "score", "tags", "who", "note", "open"],
    "properties": {
        "label": {"type": "string", "enum": ["pos", "neg"]},
        "score": {"type": "number", "minimum": 2.5, "multipleOf": 0.5},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 30, "maxLength": 40}, "minItems": 2},
        "who": {"$ref": "#/$defs/person"},
        "note": {"type": ["string", "null"], "maxLength": 3},
        "open": {"type": "boolean"},
        "unasked": {"type": "integer"},
    },
    "$defs": {"person": {"type": "object", "properties": {"age": {"type": "integer", "exclusiveMinimum": 17}}, "required": ["age"]}},
}  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        _NESTED,
        {"const": 7},
        {"anyOf": [{"type": "integer", "maximum": -3}, {"type": "string"}]},
        {"allOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"required": ["b"]}]},
        {"type": "array", "maxItems": 0},
        {"type": "object", "required": ["free"]},
        {"type": "object", "additionalProperties": False, "properties": {"x": {"type": "string"}}},
        {},
    ],
)
def test_the_example_is_valid(schema: dict[str, Any]) -> None:
    jsonschema.validate(example(schema, "filler"), schema)


def test_the_openapi_subset_with_upper_case_types_works_too() -> None:
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}
    assert example(schema, "x") == {"n": 1}


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert "next" in example(node, "x")
