"""The arithmetic of one call: exact, rounded once, and every token in one class."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from hypothesis import given
from hypothesis import strategies as st

from bucketline.rates import CLASSES, Rates, Step, make_step
from bucketline.usage import Usage

prices = st.decimals(0, 1000, places=6)
full_prices = st.fixed_dictionaries(dict.fromkeys(CLASSES, prices))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Usage as honest providers report it: every part within its whole."""
    total = draw(st.integers(0, 2_000_000))
    cached = draw(st.integers(0, total))
    written = draw(st.integers(0, total - cached))
    audio = draw(st.integers(0, total - cached - written)) if draw(st.booleans()) else 0
    image = draw(st.integers(0, total - cached - written - audio)) if draw(st.booleans()) else 0
    said = draw(st.integers(0, 200_000))
    reasoning = draw(st.integers(0, said))
    return Usage(
        input_tokens=total,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        output_tokens=said,
        reasoning_tokens=reasoning,
        audio_input_tokens=audio,
        image_input_tokens=image,
        audio_output_tokens=draw(st.integers(0, said - reasoning)) if draw(st.booleans()) else 0,
    )


def _by_hand(price: dict[str, Decimal], usage: Usage) -> Decimal:
    """The formula as one would write it on paper, in exact decimals."""
    fresh = (
        usage.input_tokens
        - usage.cached_input_tokens
        - usage.cache_write_tokens
        - usage.audio_input_tokens
        - usage.image_input_tokens
    )
    total = (
        fresh * price["input"]
        + usage.cached_input_tokens * price["cached_input"]
        + (usage.cache_write_tokens - usage.cache_write_1h_tokens) * price["cache_write"]
        + usage.cache_write_1h_tokens * price["cache_write_1h"]
        + usage.audio_input_tokens * price["audio_input"]
        + usage.image_input_tokens * price["image_input"]
        + (usage.output_tokens - usage.reasoning_tokens - usage.audio_output_tokens) * price["output"]
        + usage.reasoning_tokens * price["reasoning"]
        + usage.audio_output_tokens * price["audio_output"]
    )
    return total / 1_000_000


@given(full_prices, usages())
def test_the_cost_is_the_exact_sum_rounded_once_half_to_even(price: dict[str, Decimal], usage: Usage) -> None:
    nano = (_by_hand(price, usage) * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    assert Rates.from_prices(price).nanousd(usage) == int(nano)


@given(prices, prices, usages())
def test_a_class_without_a_price_costs_what_the_class_around_it_costs(
    price_in: Decimal, price_out: Decimal, usage: Usage
) -> None:
    two = Rates.from_prices({"input": price_in, "output": price_out})
    all_of_them = Rates.from_prices(
        {name: price_in if "output" not in name else price_out for name in CLASSES} | {"reasoning": price_out}
    )
    assert two.nanousd(usage) == all_of_them.nanousd(usage)
    nano = usage.input_tokens * price_in * 1000 + usage.output_tokens * price_out * 1000
    assert two.nanousd(usage) == int(nano.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@given(st.builds(Usage, *[st.integers(0, 10**6)] * 10))
def test_counts_that_contradict_each_other_never_earn_money(usage: Usage) -> None:
    """Cached tokens beyond the prompt, reasoning beyond the output: the rest is nothing, not less than nothing."""
    rates = Rates.from_prices(
        {"input": "3", "cached_input": "0.3", "output": "15", "reasoning": "1", "audio_input": "9"}
    )
    cost = rates.nanousd(usage)
    assert cost is not None
    assert cost >= 0


def test_cached_tokens_are_charged_once() -> None:
    """Charged at the full and again at the cached rate, a request served from cache cost four times too much."""
    rates = Rates.from_prices({"input": "2.00", "cached_input": "0.50", "output": "8.00"})
    blocks = [(2000, 1500, 100, 0), (100, 0, 50, 0), (100, 0, 400, 300), (1000, 1000, 10, 0)]
    usages_ = [
        Usage(input_tokens=i, cached_input_tokens=c, output_tokens=o, reasoning_tokens=r) for i, c, o, r in blocks
    ]
    costs = [rates.nanousd(usage) for usage in usages_]
    assert costs == [2_550_000, 600_000, 3_400_000, 580_000]


def test_a_row_has_one_spelling_and_one_key() -> None:
    def row(price: str) -> Step:
        return make_step("a/m", {"input": price}, tier="standard", over_input_tokens=None, source="s", date=None)

    assert row("1.00") == row("1") == row("1.0000000001")
    assert row("1").key != row("1.01").key
    assert Step.from_document(row("1.50").document()) == row("1.5")
