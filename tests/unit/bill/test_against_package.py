"""Ten thousand usages, priced twice: by our integers and by the price package's own calculation.

The package's calculation takes a hundred times as long and is the independent check. Where both price the same thing
the figures are equal to the nano-dollar; where they do not, the reason is one of those listed here and counted.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from genai_prices import Usage as PackageUsage
from genai_prices import calc_price
from genai_prices.data import providers
from genai_prices.types import ModelPrice, Provider, TieredPrices

from bucketline.price_package import package_price
from bucketline.usage import Usage

_TIERS = {"standard": None, "batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}}


def _usage(dice: random.Random) -> Usage:
    total = int(10 ** dice.uniform(0, 6))
    cached = dice.randint(0, total) if dice.random() < 0.5 else 0
    written = dice.randint(0, total - cached) if dice.random() < 0.3 else 0
    said = int(10 ** dice.uniform(0, 5))
    return Usage(
        input_tokens=total,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=dice.randint(0, written) if dice.random() < 0.5 else 0,
        output_tokens=said,
        reasoning_tokens=dice.randint(0, said) if dice.random() < 0.5 else 0,
    )


def _theirs(usage: Usage, provider: Provider, name: str, when: datetime, tier: str) -> Decimal:
    counts = {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
    }
    result = calc_price(
        PackageUsage(**counts), name, provider_id=provider.id, genai_request_timestamp=when, price_context=_TIERS[tier]
    )
    return result.total_price


def _why_different(prices: ModelPrice, standard: ModelPrice, tier: str) -> str | None:
    """The reason for which the two may differ, from the package's data alone."""
    known = {name: price for name, price in prices.__dict__.items() if price is not None}
    if "input_mtok" not in known:
        return "the package bills a model without a price for input as free; to us it is unknown"
    if "output_mtok" not in known:
        return "the package bills output without a price as free; to us it is unknown"
    if tier != "standard" and prices == standard:
        return (
            "the package bills a tier it has no row for at the full price; to us it is the provider's factor or unknown"
        )
    bases = [p for price in known.values() for p in ([price.base] if isinstance(price, TieredPrices) else [price])]
    if any(price != price.quantize(Decimal("1e-9")) for price in bases):
        return "the package's data holds the dust of a binary fraction; ours is rounded to nine decimals"
    return None


@pytest.mark.slow
def test_our_cost_is_the_packages_wherever_both_price_the_same_thing() -> None:
    dice = random.Random(20_261_118)
    listed = [(provider, model.id) for provider in providers for model in provider.models]
    # A name may be matched by an earlier row of the package, or by none: the row that it means is what both price.
    found = ((provider, name, provider.find_model(name, all_providers=list(providers))) for provider, name in listed)
    models = [(provider, name, model) for provider, name, model in found if model is not None]
    start, end = datetime(2024, 1, 1, tzinfo=UTC).timestamp(), datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    equal, reasons, unexplained = 0, Counter[str](), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns of prices for what a usage does not report
        for _ in range(10_000):
            provider, name, model = dice.choice(models)
            when = datetime.fromtimestamp(dice.uniform(start, end), UTC)
            tier = dice.choices(list(_TIERS), (8, 1, 1))[0]
            usage = _usage(dice)
            price = package_price(provider.id, name, when.timestamp(), tier)
            ours = None if price is None else price.step(usage.input_tokens).rates.nanousd(usage)
            theirs = _theirs(usage, provider, name, when, tier)
            nano = int((theirs * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
            if ours == nano:
                equal += 1
                continue
            reason = _why_different(model.get_prices(when, _TIERS[tier]), model.get_prices(when), tier)
            if reason is None:
                unexplained.append((provider.id, name, tier, str(when), usage, ours, nano))
            else:
                reasons[reason] += 1
    assert unexplained == []
    assert equal > 7_000
    assert len(reasons) <= 4
