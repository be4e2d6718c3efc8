"""The fuzzing targets run, so that the script is worth starting where atheris is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.fuzz_targets import NAMES, SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@example(b"\n\r\r\r\r\r\r")  # blank, and one longer than the cap: no record
@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b" ", b"\xef\xbb\xbf", b"{}", b"\x00"]), max_size=40).map(b"".join)
)
def test_records_are_what_a_plain_split_says(data: bytes) -> None:
    TARGETS["split"](data)


@given(st.binary(max_size=200))
def test_any_headers_are_a_time_that_ends_and_a_count(data: bytes) -> None:
    TARGETS["headers"](data)


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(NAMES) - 1),
            st.sampled_from([1, 12, 400]),
            st.sampled_from(["h", "m", "s", "ms", "", "Z", "e9", "."]),
        ),
        max_size=4,
    )
)
def test_an_enormous_wait_is_none(said: list[tuple[int, int, str]]) -> None:
    """A provider that asks for a wait beyond all numbers must not stop an account for good."""
    beside = bytes([NAMES.index("x-ratelimit-limit-tokens")]) + b"5"
    TARGETS["headers"](
        b"\n".join([beside, *(bytes([name]) + b"9" * digits + unit.encode() for name, digits, unit in said)])
    )
