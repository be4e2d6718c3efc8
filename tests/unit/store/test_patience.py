"""Waiting for a store: bounded, growing, scattered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bucketline.store.patience import Patience


@given(st.integers(0, 10_000), st.floats(0, 400), st.floats(0, 1), st.booleans())
def test_no_pause_goes_beyond_the_patience(failures: int, spent_s: float, dice: float, reached: bool) -> None:
    patience = Patience(dice=lambda: dice)
    pause = patience.pause_s(failures, spent_s, reached=reached)
    limit = patience.total_s if reached else patience.first_s
    if pause is None:
        assert spent_s + dice * patience.most_s > limit
    else:
        assert 0 <= pause <= min(patience.most_s, patience.base_s * 2 ** min(failures, 32))
        assert spent_s + pause <= limit


def test_no_patience_means_at_once() -> None:
    assert Patience(dice=lambda: 0.0).none().pause_s(0, 0.0, reached=True) is None
