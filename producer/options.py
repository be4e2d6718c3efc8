"""A batch's options, from what a person typed to ``BatchOptions``.

Comes in: names and values from the command, from Python, from object metadata or a TOML file. Goes out: checked options,
or one sentence that names the option. Every door goes through here, so all of them know the same names: those of
``BatchOptions``, the command's spellings (``max-cost``, ``window``), and dashes for underscores.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bucketline.batch import BatchOptions
from bucketline.errors import ConfigError, UsageError
from bucketline.money import nano_from_usd, usd

__all__ = ["batch_options", "metadata_pairs", "window_seconds"]

_OTHER_NAMES = {"max_cost": "max_usd", "window": "window_s", "completion_window": "window_s"}
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WINDOW = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def batch_options(base: BatchOptions | None, asked: Mapping[str, Any]) -> BatchOptions:
    """Options over a base; what is None was not asked for. Raises UsageError that names the option."""
    values = {} if base is None else base.model_dump(exclude_unset=True)
    for given, value in asked.items():
        if value is None:
            continue
        name = given.replace("-", "_").lower()
        name = _OTHER_NAMES.get(name, name)
        if name not in BatchOptions.model_fields:
            near = difflib.get_close_matches(name, [*BatchOptions.model_fields, *_OTHER_NAMES], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"There is no option {given!r}.{hint}")
        values[name] = _checked(name, value)
    try:
        return BatchOptions.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise UsageError(f"The option {place}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None


def window_seconds(text: str) -> float:
    """``90m``, ``24h``, ``1d12h`` → seconds. Raises UsageError."""
    found = _WINDOW.findall(text)
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in found)
    if not found or "".join(number + unit for number, unit in found) != text or seconds <= 0:
        raise UsageError(f"The window {text!r} is no time span; write 90m, 24h or 7d.")
    return seconds


def metadata_pairs(pairs: list[str]) -> dict[str, str]:
    """``K=V`` … → a dict. Raises UsageError."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"The metadata {pair!r} is no pair; write KEY=VALUE.")
        found[key] = value
    return found


def _checked(name: str, value: Any) -> Any:
    if name == "window_s" and isinstance(value, str):
        return window_seconds(value)
    if name == "max_usd":
        try:
            return usd(nano_from_usd(str(value)))
        except ConfigError as error:
            raise UsageError(f"The option max_cost: {error}") from None
    if name == "metadata" and isinstance(value, Mapping):
        return {str(key): str(inner) for key, inner in value.items()}
    return value
