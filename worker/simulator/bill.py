"""What a call costs, by the simulator's own arithmetic.

In: a model's prices as decimal strings and the tokens of one call. Out: whole nano-dollars, rounded half to even once
for each call. Decimal arithmetic all the way, on purpose unlike the product's integers: the two check each other.
``provider`` keeps one tariff for each model. Pure.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from bucketline.errors import ConfigError
from worker.simulator.config import Prices
from worker.simulator.talk import Spent

__all__ = ["Tariff", "nano_of", "usd_of"]

_EXACT = Context(prec=60)
_NANO_OF_MTOK = Decimal(1000)  # USD per million tokens is thousands of nano-dollars per token
_NANO_OF_USD = Decimal(10**9)


class Tariff:
    """The prices of one model, read once. Raises ConfigError where a price is not a number of zero or more."""

    __slots__ = ("_tiers",)

    def __init__(self, prices: Prices) -> None:
        base = prices.input, prices.cached_input, prices.cache_write, prices.output
        tiers = [(-1, _rates(*base))]
        for tier in sorted(prices.tiers, key=lambda tier: tier.over_input_tokens):
            cached = tier.cached_input or prices.cached_input
            written = tier.cache_write or prices.cache_write
            tiers.append((tier.over_input_tokens, _rates(tier.input, cached, written, tier.output)))
        self._tiers = tiers[::-1]

    def nanousd(self, spent: Spent) -> int:
        """The cost of one call; the tier is that of its whole input, cached tokens included."""
        plain, cached, written, output = next(r for over, r in self._tiers if spent.input_tokens > over)
        fresh = spent.input_tokens - spent.cached_tokens - spent.cache_write_tokens
        nano = (
            plain * fresh + cached * spent.cached_tokens + written * spent.cache_write_tokens
            + output * spent.output_tokens
        )  # fmt: skip
        return int(nano.to_integral_value(ROUND_HALF_EVEN, _EXACT))


def nano_of(usd: str) -> int:
    """Dollars as a decimal string → nano-dollars. Raises ConfigError."""
    return int((_decimal(usd) * _NANO_OF_USD).to_integral_value(ROUND_HALF_EVEN))


def usd_of(nanousd: int) -> str:
    """Nano-dollars → dollars as a decimal string without trailing zeros."""
    return format((Decimal(nanousd) / _NANO_OF_USD).normalize(_EXACT), "f")


def _rates(
    plain: str, cached: str | None, written: str | None, output: str
) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Nano-dollars per token: fresh input, cached input, written input, output."""
    each = (_decimal(plain), _decimal(cached or plain), _decimal(written or plain), _decimal(output))
    plain_, cached_, written_, output_ = (price * _NANO_OF_MTOK for price in each)
    return plain_, cached_, written_, output_


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ConfigError(f"{text!r} is not an amount of dollars; write it as a decimal, such as 2.50.") from None
    if not value.is_finite() or value < 0:
        raise ConfigError(f"{text!r} is not an amount of dollars; it must be zero or more.")
    return value
