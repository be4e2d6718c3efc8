"""The aggregates of an assert: many items to one value.

Comes in: the selected items in order, and the assert that names what to look at. Goes out: a JSON value, None where
there is nothing to tell. Times are seconds on the case's clock. An aggregate nobody knows raises ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["aggregate", "member"]

Items = Sequence[Mapping[str, Any]]


def member(item: Any, path: str) -> Any:
    """A member by its dotted name, going into objects and lists; None where there is none."""
    if isinstance(item, Mapping) and path in item:
        return item[path]
    head, _, rest = path.partition(".")
    if isinstance(item, Mapping):
        # A member's own name may have dots (a model's does), so every cut is tried, the shortest head first.
        cuts = [at for at, letter in enumerate(path) if letter == "."]
        for at in cuts:
            if path[:at] in item:
                return member(item[path[:at]], path[at + 1 :])
        return None
    if isinstance(item, Sequence) and not isinstance(item, str) and head.isdigit() and int(head) < len(item):
        return member(item[int(head)], rest) if rest else item[int(head)]
    return None


def aggregate(name: str, items: Items, spec: Mapping[str, Any]) -> Any:
    """The value of the aggregate ``name``. Raises ValueError for an unknown one."""
    try:
        return _AGGREGATES[name](items, spec)
    except KeyError:
        raise ValueError(f"unknown aggregate or missing member in {dict(spec)}") from None


def _known(items: Items, spec: Mapping[str, Any]) -> list[Any]:
    values = (member(item, spec["get"]) for item in items)
    return [value for value in values if value is not None]


def _distinct(items: Items, spec: Mapping[str, Any]) -> list[Any]:
    return list({json.dumps(value, sort_keys=True): value for value in _known(items, spec)}.values())


def _unique(items: Items, spec: Mapping[str, Any]) -> bool:
    seen = [(item.get("batch", item.get("batch_key")), json.dumps(member(item, spec["get"]))) for item in items]
    return len(seen) == len(set(seen))


def _last(items: Items, spec: Mapping[str, Any]) -> Any:
    return member(max(items, key=lambda item: item.get("t", 0)), spec["get"]) if items else None


def _nondecreasing(items: Items, spec: Mapping[str, Any]) -> bool | None:
    values = _known(sorted(items, key=lambda item: item.get("t", 0)), spec)
    return all(a <= b for a, b in pairwise(values)) if values else None


def _gaps(items: Items) -> list[float]:
    return [later - earlier for earlier, later in pairwise(sorted(item["t"] for item in items))]


def _max_in_window(items: Items, spec: Mapping[str, Any]) -> int:
    starts = sorted(item["t"] for item in items)
    return max((sum(0 <= t - first < spec["window_s"] for t in starts) for first in starts), default=0)


def _max_concurrent(items: Items) -> int:
    ends = [item["t_end"] if item.get("t_end") is not None else float("inf") for item in items]
    # At one and the same moment an end comes before a start.
    moments = sorted([(item["t"], 1) for item in items] + [(end, -1) for end in ends])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def _max_concurrent_same_tag(items: Items) -> int:
    tags = {item.get("tag") for item in items}
    return max((_max_concurrent([item for item in items if item.get("tag") == tag]) for tag in tags), default=0)


def _sum_fields(items: Items, spec: Mapping[str, Any]) -> Any:
    return sum(member(item, name) or 0 for item in items for name in spec["fields"])


_AGGREGATES: Mapping[str, Callable[[Items, Mapping[str, Any]], Any]] = {
    "count": lambda items, _: len(items),
    "distinct": lambda items, spec: len(_distinct(items, spec)),
    "unique": _unique,
    "set": _distinct,
    "last": _last,
    "nondecreasing": _nondecreasing,
    "gap_min_s": lambda items, _: min(_gaps(items), default=None),
    "gap_max_s": lambda items, _: max(_gaps(items), default=None),
    "max_in_window": _max_in_window,
    "max_concurrent": lambda items, _: _max_concurrent(items),
    "max_concurrent_same_tag": lambda items, _: _max_concurrent_same_tag(items),
    "sum_fields": _sum_fields,
}
