"""Editing a body touches the members named and not one byte more."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bucketline.splice import dumps, loads, member_value, splice

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["model", "a", "body", "messages", 'q"', "\u2028"]), VALUES, max_size=5)


def spelled(value: Any, *, spaced: bool) -> bytes:
    return json.dumps(value, ensure_ascii=spaced, indent=1 if spaced else None).encode(errors="surrogatepass")


@given(OBJECTS, OBJECTS, st.sets(st.sampled_from(["model", "a", "messages"])), st.booleans())
def test_a_splice_means_what_a_dict_update_means(
    body: dict[str, Any], set_: dict[str, Any], unset: set[str], spaced: bool
) -> None:
    expected = {key: value for key, value in body.items() if key not in unset} | set_
    assert json.loads(splice(spelled(body, spaced=spaced), set_, unset)) == expected


@given(OBJECTS, st.booleans())
def test_a_member_comes_out_as_it_was_spelled(body: dict[str, Any], spaced: bool) -> None:
    raw = spelled(body, spaced=spaced)
    for key, value in body.items():
        found = member_value(raw, key)
        assert found is not None
        assert found in raw
        assert json.loads(found) == value
    assert member_value(raw, "absent") is None


def test_replacing_the_model_leaves_every_other_byte() -> None:
    body = b'{ "temperature" : 1.00, "model"\n: "old", "n":1e2, "messages":[{"content":"\\ud800 \\"model\\": x"}]}'
    assert splice(body, {"model": "new"}) == body.replace(b'"old"', b'"new"')


def test_a_key_that_only_ends_in_the_name_is_not_touched() -> None:
    assert splice(rb'{"x\"model": "a"}', {"model": "b"}) == rb'{"x\"model": "a","model":"b"}'


def test_a_nested_member_of_the_same_name_is_not_touched() -> None:
    assert splice(b'{"a":{"model":"x"},"b":1}', {"model": "y"}) == b'{"a":{"model":"x"},"b":1,"model":"y"}'
    assert splice(b'{"a":{"model":"x"},"model":"z"}', {"model": "y"}) == b'{"a":{"model":"x"},"model":"y"}'
    assert splice(b'{"a":"model","model":"z"}', {"model": "y"}) == b'{"a":"model","model":"y"}'


def test_lone_surrogates_and_huge_integers_survive() -> None:
    value = loads(b'{"t":"\\ud800","n":123456789012345678901234567890}')
    assert value == {"t": "\ud800", "n": 123456789012345678901234567890}
    assert json.loads(dumps(value)) == value
