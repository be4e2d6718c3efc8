"""Just enough TOML to write a configuration: tables of tables, then values in one line.

Comes in: a mapping of JSON values. Goes out: the file's text. The standard library reads TOML but writes none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["toml"]


def toml(document: Mapping[str, Any]) -> str:
    """The document; members that are mappings become tables of their own, two levels deep. None is left out."""
    lines = [f"{_key(name)} = {_value(value)}" for name, value in document.items() if not isinstance(value, Mapping)]
    for name, table in document.items():
        if not isinstance(table, Mapping):
            continue
        nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
        lines += ["", f"[{_key(name)}]"] if not nested or len(nested) < len(table) else []
        lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in nested]
        for key, value in nested.items():
            lines += ["", f"[{_key(name)}.{_key(key)}]"]
            lines += [f"{_key(inner)} = {_value(given)}" for inner, given in value.items() if given is not None]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(given)}" for name, given in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one letter that only TOML forbids
