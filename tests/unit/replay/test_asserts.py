"""The asserts themselves: an operator that is wrong would let every product pass, or none."""

from __future__ import annotations

import pytest

from tests.replay.aggregates import aggregate, member
from tests.replay.asserts import judge
from tests.replay.operators import holds


@pytest.mark.parametrize(
    ("op", "seen", "wanted"),
    [
        ("eq", 6, 6),
        ("eq", 6, 6.0),
        ("eq", [0.25, -0.5, 1e-09], [0.25, -0.5, 1e-09]),
        ("ne", None, True),
        ("ne", 1, True),
        ("lt", 1, 2),
        ("le", 2, 2),
        ("gt", 2.5, 2),
        ("ge", 100.0, 100),
        ("in", "a", ["a", "b"]),
        ("not_in", None, ["a"]),
        ("contains", "one\u2028two", "e\u2028t"),
        ("contains", ["orion-4o"], "orion-4o"),
        ("not_contains", "Bearer key-b", "key-a"),
        ("not_contains", None, "key-a"),
        ("matches", "line 2 and\nline 3", r"(?s)2.*3"),
        ("dec_eq", "0.00255000", "0.00255"),
        ("dec_gt", "0.1000000000000000001", "0.1"),
        ("dec_ge", "1E-3", "0.001"),
        ("dec_in", "0.030", ["0.03", "0.0275"]),
        ("absent", None, True),
        ("absent", "0", False),
        ("has_keys", {"a": 1, "b": None}, ["a", "b"]),
        ("eq_set", ["b", "a", "a"], ["a", "b"]),
    ],
)
def test_an_operator_holds_where_it_should(op: str, seen: object, wanted: object) -> None:
    """Each operator at least once, with what the cases ask of it."""
    assert holds(op, seen, wanted)


@pytest.mark.parametrize(
    ("op", "seen", "wanted"),
    [
        ("eq", 1, True),
        ("eq", "8", 8),
        ("eq", None, 0),
        ("eq", [1], [1, 2]),
        ("ne", True, True),
        ("lt", None, 2),
        ("le", "1", 2),
        ("le", True, 2),
        ("ge", float("nan"), 0),
        ("in", 1, [True, "1"]),
        ("contains", None, "x"),
        ("contains", ["orion-4o"], "orion-4"),
        ("not_contains", "key-a", "key-a"),
        ("matches", None, ".*"),
        ("dec_eq", 0.00255, "0.00255"),
        ("dec_eq", "0.0025500000000000003", "0.00255"),
        ("dec_eq", None, "0"),
        ("dec_eq", "free", "0"),
        ("dec_gt", "0.00066", "0.00066"),
        ("dec_in", "0.3", ["0.03"]),
        ("absent", "0", True),
        ("absent", None, False),
        ("has_keys", {"a": 1}, ["a", "b"]),
        ("eq_set", ["a"], ["a", "b"]),
        ("eq_set", "ab", ["a", "b"]),
    ],
)
def test_an_operator_does_not_hold_where_it_should_not(op: str, seen: object, wanted: object) -> None:
    """Wrong types, missing members and float dust are no match."""
    assert not holds(op, seen, wanted)


def test_an_operator_that_nobody_knows_is_an_error() -> None:
    """A spelling mistake in a case must not pass for a good product."""
    with pytest.raises(ValueError, match="unknown operator 'eqq'"):
        holds("eqq", 1, 1)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", 1),
        ("a.list.1.c", 2),
        ("a.list.7.c", None),
        ("nothing.at.all", None),
        ("dotted.name", 3),
        ("by.orion-4.5", "0.1"),
        ("a.text.0", None),
    ],
)
def test_a_dotted_name_goes_into_objects_and_lists(path: str, value: object) -> None:
    """Members' own names may have dots; what is not there is None."""
    item = {"a": {"b": 1, "list": [{}, {"c": 2}], "text": "xyz"}, "dotted.name": 3, "by": {"orion-4.5": "0.1"}}
    assert member(item, path) == value


def _calls(*spans: tuple[float, float | None, str]) -> list[dict[str, object]]:
    return [{"t": t, "t_end": end, "tag": tag} for t, end, tag in spans]


@pytest.mark.parametrize(
    ("name", "items", "spec", "value"),
    [
        ("count", [{}, {}], {}, 2),
        ("distinct", [{"id": 1}, {"id": "1"}, {"id": 1}, {}], {"get": "id"}, 2),
        ("set", [{"id": "b"}, {"id": "a"}, {"id": "b"}], {"get": "id"}, ["b", "a"]),
        ("unique", [{"batch": "x", "id": 1}, {"batch": "y", "id": 1}], {"get": "id"}, True),
        ("unique", [{"batch": "x", "id": 1}, {"batch": "x", "id": 1}], {"get": "id"}, False),
        ("last", [{"t": 2, "p": 100}, {"t": 1, "p": 50}], {"get": "p"}, 100),
        ("last", [], {"get": "p"}, None),
        ("nondecreasing", [{"t": 2, "p": 5}, {"t": 1, "p": 5}, {"t": 3}], {"get": "p"}, True),
        ("nondecreasing", [{"t": 2, "p": 4}, {"t": 1, "p": 5}], {"get": "p"}, False),
        ("nondecreasing", [], {"get": "p"}, None),
        ("gap_min_s", _calls((5.0, None, "a"), (1.0, None, "a"), (2.5, None, "a")), {}, 1.5),
        ("gap_max_s", _calls((5.0, None, "a"), (1.0, None, "a"), (2.5, None, "a")), {}, 2.5),
        ("gap_min_s", _calls((1.0, None, "a")), {}, None),
        ("max_in_window", _calls((0.0, 1, "a"), (59.9, 60, "a"), (60.0, 61, "a")), {"window_s": 60}, 2),
        ("max_in_window", [], {"window_s": 60}, 0),
        ("max_concurrent", _calls((0, 1, "a"), (1, 2, "b"), (1.5, None, "c"), (1.9, 3, "d")), {}, 3),
        ("max_concurrent_same_tag", _calls((0, 2, "a"), (1, 3, "b"), (2, 4, "a")), {}, 1),
        ("max_concurrent_same_tag", _calls((0, 2, "a"), (1, 3, "a")), {}, 2),
        ("sum_fields", [{"ok": 5, "failed": 1}, {"ok": 6}], {"fields": ["ok", "failed"]}, 12),
    ],
)
def test_an_aggregate_has_the_value_one_counts_by_hand(
    name: str, items: list[dict[str, object]], spec: dict[str, object], value: object
) -> None:
    """Small enough to check by eye."""
    assert aggregate(name, items, spec) == value


def test_an_assert_over_nothing_fails_unless_it_may() -> None:
    """An empty selection says nothing; only a case that expects it may take it for right."""
    spec = {"id": "E1", "level": "must", "of": "rows", "get": "ok", "op": "eq", "value": True}
    [strict, lax] = judge([spec, {**spec, "allow_empty": True}], {"rows": []})
    assert not strict.ok
    assert "no such item" in strict.seen
    assert lax.ok


def test_a_selection_takes_all_conditions_and_any_operator() -> None:
    """Plain values are equality; an object with ``op`` is that operator."""
    rows = [{"id": "q-1", "ok": False}, {"id": "q-2", "ok": True}, {"id": "r-1", "ok": False}]
    where = {"id": {"op": "matches", "value": "^q-"}, "ok": False}
    [verdict] = judge(
        [{"id": "E1", "level": "should", "of": "rows", "where": where, "agg": "count", "op": "eq", "value": 1}],
        {"rows": rows},
    )
    assert verdict.ok
    assert verdict.level == "should"


def test_any_one_group_is_enough_and_is_named() -> None:
    """More than one policy is sound; the report says which one it was."""
    count = {"level": "must", "of": "rows", "agg": "count", "op": "eq"}
    groups = [
        {"name": "one", "all": [{**count, "id": "a", "value": 1}]},
        {"name": "two", "all": [{**count, "id": "a", "value": 2}, {**count, "id": "b", "value": 2}]},
    ]
    spec = {"id": "E1", "level": "must", "any_of": groups}
    [held] = judge([spec], {"rows": [{}, {}]})
    [broken] = judge([spec], {"rows": []})
    assert (held.ok, held.policy) == (True, "two")
    assert not broken.ok
    assert "not “one”" in broken.seen
    assert "not “two”" in broken.seen


def test_a_failed_assert_says_what_was_seen_and_of_whom() -> None:
    """The table must be enough to begin mending."""
    rows = [{"custom_id": "r-1", "cost_usd": "0.2"}, {"custom_id": "r-2"}]
    spec = {"id": "E1", "level": "must", "of": "rows", "get": "cost_usd", "op": "dec_eq", "value": "0.1"}
    [verdict] = judge([spec], {"rows": rows})
    assert 'rows.cost_usd dec_eq "0.1"' in verdict.seen
    assert 'r-1 → "0.2"' in verdict.seen
    assert "r-2 → nothing" in verdict.seen


def test_a_broken_assert_fails_and_says_so() -> None:
    """It is the case that is wrong then, but it must not look right."""
    [verdict] = judge([{"id": "E1", "level": "must", "of": "rows", "agg": "cuont", "op": "eq"}], {"rows": []})
    assert not verdict.ok
    assert "cannot be judged" in verdict.seen
