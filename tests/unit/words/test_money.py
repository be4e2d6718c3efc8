"""Money is exact: no float dust, one rounding, decimal strings outside."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.errors import ConfigError
from bucketline.money import FEMTO_PER_NANO, femto_per_token, nano_from_usd, round_femto, usd


@given(st.integers(0, 10**30))
def test_the_one_rounding_is_half_to_even(femto: int) -> None:
    exact = (Decimal(femto) / FEMTO_PER_NANO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN) if femto < 10**27 else None
    assert exact is None or round_femto(femto) == int(exact)


@given(st.integers(-(10**18), 10**18))
def test_dollars_in_words_are_exact_and_shortest(nanousd: int) -> None:
    text = usd(nanousd)
    assert text is not None
    assert int(Decimal(text) * 10**9) == nanousd
    assert "." not in text or not text.endswith(("0", "."))


@given(st.decimals(0, 10**6, places=6))
def test_every_published_price_is_held_exactly(price: Decimal) -> None:
    assert Decimal(femto_per_token(price)) == price * 10**9


def test_examples() -> None:
    assert usd(14_300_000) == "0.0143"
    assert usd(0) == "0"
    assert usd(None) is None
    assert nano_from_usd("5.00") == 5_000_000_000
    assert femto_per_token("0.0375") == 37_500_000


@pytest.mark.parametrize("amount", ["", "x", "-1", "NaN", "Infinity", "1e16", "1e999999"])
def test_what_is_no_amount_is_refused_by_name(amount: str) -> None:
    with pytest.raises(ConfigError, match="amount of dollars"):
        nano_from_usd(amount)
