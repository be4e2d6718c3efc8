"""Whether what was seen is right: the asserts of a case, one verdict each.

Comes in: the asserts, and the items by name (rows, calls, …). Goes out: verdicts with what was seen, short enough for
a table. ``must`` and ``should`` are only carried along here; ``play`` decides what they mean for the case. A broken
assert (an unknown operator, a missing member) is a failed one and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.replay.aggregates import aggregate, member
from tests.replay.operators import holds

__all__ = ["Verdict", "judge"]

Items = Mapping[str, Sequence[Mapping[str, Any]]]
_SEEN_LETTERS = 160


@dataclass(frozen=True, slots=True)
class Verdict:
    """One assert's end. ``policy`` names the group of an ``any_of`` that held."""

    id: str
    level: str
    ok: bool
    seen: str
    policy: str | None = None


def judge(asserts: Sequence[Mapping[str, Any]], items: Items) -> list[Verdict]:
    """A verdict for each assert, in order."""
    return [_any_of(spec, items) if "any_of" in spec else _single(spec, items) for spec in asserts]


def _any_of(spec: Mapping[str, Any], items: Items) -> Verdict:
    said = []
    for group in spec["any_of"]:
        failed = [verdict for verdict in judge(group["all"], items) if not verdict.ok]
        if not failed:
            return Verdict(spec["id"], spec["level"], True, "", group["name"])
        said.append(f"not “{group['name']}”: " + ", ".join(f"{each.id} {each.seen}" for each in failed))
    return Verdict(spec["id"], spec["level"], False, "; ".join(said))


def _single(spec: Mapping[str, Any], items: Items) -> Verdict:
    try:
        ok, seen = _check(spec, items)
    except (ValueError, KeyError, TypeError) as error:
        ok, seen = False, f"the assert cannot be judged: {error!r}"
    return Verdict(spec["id"], spec.get("level", "must"), ok, "" if ok else f"{_wanted(spec)}: {seen}")


def _check(spec: Mapping[str, Any], items: Items) -> tuple[bool, str]:
    selected = [item for item in items[spec["of"]] if _selects(spec.get("where", {}), item)]
    op, value = spec["op"], spec.get("value", True)
    if "agg" in spec:
        seen = aggregate(spec["agg"], selected, spec)
        return holds(op, seen, value), f"saw {_short(seen)}"
    if not selected:
        return bool(spec.get("allow_empty")), "saw no such item"
    wrong = [item for item in selected if not _right(op, item, spec["get"], value)]
    places = ", ".join(f"{_name(item)}{_short(member(item, spec['get']))}" for item in wrong[:3])
    return not wrong, f"saw {places}" + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _right(op: str, item: Mapping[str, Any], path: str, value: Any) -> bool:
    seen = member(item, path)
    if op == "contains_own_tag":
        tag = item.get("own_tag")
        return (isinstance(seen, str) and tag is not None and tag in seen) is value
    return holds(op, seen, value)


def _selects(where: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    for path, wanted in where.items():
        rule = wanted if isinstance(wanted, Mapping) and "op" in wanted else {"op": "eq", "value": wanted}
        if not holds(rule["op"], member(item, path), rule.get("value", True)):
            return False
    return True


def _wanted(spec: Mapping[str, Any]) -> str:
    what = f"{spec['agg']} of {spec['of']}" if "agg" in spec else f"{spec['of']}.{spec.get('get')}"
    inner = f" {spec['get']}" if "agg" in spec and "get" in spec else ""
    where = f" where {_short(spec['where'])}" if spec.get("where") else ""
    return f"{what}{inner}{where} {spec['op']} {_short(spec.get('value'))}"


def _name(item: Mapping[str, Any]) -> str:
    name = item.get("custom_id", item.get("tag", item.get("key")))
    return f"{name} → " if name is not None else ""


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SEEN_LETTERS else text[:_SEEN_LETTERS] + "…"
