"""The operators of an assert: one function each, from what was seen and what was wanted to yes or no.

Comes in: two JSON values; a member that is not there is None. Goes out: a bool. Values of the wrong type are no match
and no error, except that an operator nobody knows raises ValueError: a case must not pass by a typing mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["holds"]


def holds(op: str, seen: Any, wanted: Any) -> bool:
    """Whether ``seen`` stands in the relation ``op`` to ``wanted``. Raises ValueError for an unknown operator."""
    try:
        check = _OPERATORS[op]
    except KeyError:
        raise ValueError(f"unknown operator {op!r}") from None
    return check(seen, wanted)


def same(seen: Any, wanted: Any) -> bool:
    """Equality as JSON has it: true is not 1, and neither is "1"."""
    if isinstance(seen, bool) or isinstance(wanted, bool):
        return seen is wanted
    if isinstance(seen, list) and isinstance(wanted, list):
        return len(seen) == len(wanted) and all(map(same, seen, wanted))
    if isinstance(seen, dict) and isinstance(wanted, dict):
        return seen.keys() == wanted.keys() and all(same(seen[key], wanted[key]) for key in seen)
    return bool(seen == wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def check(seen: Any, wanted: Any) -> bool:
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (seen, wanted))
        texts = isinstance(seen, str) and isinstance(wanted, str)
        return (numbers or texts) and compare(seen, wanted)

    return check


def _decimal(value: Any) -> Decimal | None:
    """An exact decimal; a float is none, its dust is what the asserts look for."""
    if not isinstance(value, str):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None


def _decimals(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[Any, Any], bool]:
    def check(seen: Any, wanted: Any) -> bool:
        ours, theirs = _decimal(seen), _decimal(wanted)
        return ours is not None and theirs is not None and compare(ours, theirs)

    return check


def _within(seen: Any, wanted: Any) -> bool:
    return any(same(seen, each) for each in wanted)


def _contains(seen: Any, wanted: Any) -> bool:
    if isinstance(seen, str):
        return isinstance(wanted, str) and wanted in seen
    return isinstance(seen, list) and any(same(each, wanted) for each in seen)


def _same_set(seen: Any, wanted: Any) -> bool:
    if not isinstance(seen, list):
        return False
    return all(_within(each, wanted) for each in seen) and all(_within(each, seen) for each in wanted)


def _decimal_in(seen: Any, wanted: Any) -> bool:
    return any(_decimals(Decimal.__eq__)(seen, each) for each in wanted)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": same,
    "ne": lambda seen, wanted: not same(seen, wanted),
    "lt": _ordered(lambda a, b: a < b),
    "le": _ordered(lambda a, b: a <= b),
    "gt": _ordered(lambda a, b: a > b),
    "ge": _ordered(lambda a, b: a >= b),
    "in": _within,
    "not_in": lambda seen, wanted: not _within(seen, wanted),
    "contains": _contains,
    "not_contains": lambda seen, wanted: not _contains(seen, wanted),
    "matches": lambda seen, wanted: isinstance(seen, str) and re.search(wanted, seen) is not None,
    "dec_eq": _decimals(lambda a, b: a == b),
    "dec_gt": _decimals(lambda a, b: a > b),
    "dec_ge": _decimals(lambda a, b: a >= b),
    "dec_in": _decimal_in,
    "absent": lambda seen, wanted: (seen is None) is (wanted is not False),
    "has_keys": lambda seen, wanted: isinstance(seen, dict) and all(key in seen for key in wanted),
    "eq_set": _same_set,
}
