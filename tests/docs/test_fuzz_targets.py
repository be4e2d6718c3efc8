"""The fuzzing targets run, so that the script is worth starting where atheris is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.fuzz_targets import SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b" ", b"\xef\xbb\xbf", b"{}", b"\x00"]), max_size=40).map(b"".join)
)
def test_records_are_what_a_plain_split_says(data: bytes) -> None:
    TARGETS["split"](data)
