"""Money: integer nano-dollars inside, decimal strings outside.

A price in USD per million tokens becomes an integer of femto-dollars (10⁻¹⁵ USD) per token, which holds every
published price exactly; a line's cost is summed in femto-dollars and rounded once, half to even, to nano-dollars.
Sums are then sums of integers, so the lines of a manifest add up to its total exactly. Unknown is ``None``.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from bucketline.errors import ConfigError

__all__ = ["FEMTO_PER_NANO", "NANO_PER_USD", "femto_per_token", "nano_from_usd", "round_femto", "usd"]

NANO_PER_USD = 1_000_000_000  #: nano-dollars in a dollar
_MOST_USD = 10**15  #: a larger amount is a slip, and would soon not be held exactly
FEMTO_PER_NANO = 1_000_000  #: femto-dollars in a nano-dollar
_FEMTO_PER_TOKEN_OF_USD_PER_MTOK = 10**9  #: 1 USD per million tokens is 10⁹ femto-dollars per token


def femto_per_token(usd_per_mtok: str | Decimal) -> int:
    """USD per million tokens → femto-dollars per token; rounds only beyond nine decimals of a dollar.

    Raises ConfigError when the text is not an amount.
    """
    return _scaled(usd_per_mtok, _FEMTO_PER_TOKEN_OF_USD_PER_MTOK)


def nano_from_usd(amount: str | Decimal) -> int:
    """Dollars → nano-dollars, half to even. Raises ConfigError when the text is not an amount."""
    return _scaled(amount, NANO_PER_USD)


def round_femto(femto: int) -> int:
    """Femto-dollars → nano-dollars, half to even; the one rounding of a line's cost."""
    quotient, rest = divmod(femto, FEMTO_PER_NANO)
    half = FEMTO_PER_NANO // 2
    return quotient + (rest > half or (rest == half and quotient % 2 == 1))


def usd(nanousd: int | None) -> str | None:
    """Nano-dollars → the shortest exact decimal string (``"0.0143"``, ``"12"``, ``"-0.5"``); None stays None."""
    if nanousd is None:
        return None
    sign = "-" if nanousd < 0 else ""
    whole, fraction = divmod(abs(nanousd), NANO_PER_USD)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:09d}".rstrip("0")


def _scaled(amount: str | Decimal, factor: int) -> int:
    try:
        value = Decimal(amount)
    except InvalidOperation:
        raise ConfigError(f"{amount!r} is not an amount of dollars; write it as a decimal, such as 2.50.") from None
    if not value.is_finite() or not 0 <= value <= _MOST_USD:
        raise ConfigError(f"{amount!r} is not an amount of dollars; it must be from 0 to {_MOST_USD:,}.")
    return int((value * factor).to_integral_value())
