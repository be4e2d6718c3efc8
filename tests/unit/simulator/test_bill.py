"""The judge's own arithmetic, checked against fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.errors import ConfigError
from worker.simulator.bill import Tariff, nano_of, usd_of
from worker.simulator.config import Prices, Tier
from worker.simulator.talk import Spent

_PRICE = st.decimals("0", "99", places=6).map(str)
_TOKENS = st.integers(0, 10**7)


@given(_PRICE, _PRICE, _PRICE, _PRICE, _TOKENS, _TOKENS, _TOKENS, _TOKENS)
def test_a_call_costs_what_fractions_say_rounded_half_to_even(
    plain: str, cached: str, written: str, output: str, fresh: int, read: int, new: int, out: int
) -> None:
    tariff = Tariff(Prices(plain, output, cached, written))
    exact = (
        Fraction(plain) * fresh + Fraction(cached) * read + Fraction(written) * new + Fraction(output) * out
    ) * 1000
    assert tariff.nanousd(Spent(fresh + read + new, read, new, out)) == round(exact)


def test_half_a_nano_dollar_goes_to_the_even_one() -> None:
    tariff = Tariff(Prices("0.0005"))
    assert [tariff.nanousd(Spent(tokens)) for tokens in (1, 3, 5)] == [0, 2, 2]


def test_a_tier_prices_the_whole_request_and_begins_strictly_above() -> None:
    tariff = Tariff(Prices("1", "2", "0.5", tiers=(Tier(1000, "4", "8"), Tier(100, "2", "4"))))
    assert tariff.nanousd(Spent(100, 0, 0, 10)) == 120_000
    assert tariff.nanousd(Spent(101, 0, 0, 10)) == 242_000
    assert tariff.nanousd(Spent(1001, 1, 0, 0)) == 4_000_500


@pytest.mark.parametrize(("text", "nano"), [("0", 0), ("0.0143", 14_300_000), ("12", 12 * 10**9)])
def test_dollars_go_there_and_back(text: str, nano: int) -> None:
    assert nano_of(text) == nano
    assert usd_of(nano) == text


@pytest.mark.parametrize("text", ["", "abc", "-1", "NaN", "Infinity"])
def test_what_is_no_amount_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="amount of dollars"):
        nano_of(text)
