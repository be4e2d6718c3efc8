"""What a provider says about its limits, in one meaning: which of them, how much is left, and whose they are.

Comes in: the headers of any answer, or the word of a refusal. Goes out: one ``Reading`` for each limit that is named, and
the scope that it speaks of. No clock is read: a time of day is compared with the answer's own ``Date``. Unreadable and
senseless values (Azure's -1) are left out. Called by ``gate`` and ``attempt``. How long a refused call must wait is
``providers.delays``.

    OpenAI, Azure, Groq, xAI    x-ratelimit-{limit,remaining,reset}-{requests,tokens,…}   12ms  1s  6m0s  2m59.56s  60
    Anthropic                   anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,…}   RFC 3339
    Moonshot, LLM API, Together x-ratelimit-{limit,remaining,reset}, x-tokenlimit-…       unix seconds, milliseconds
    LiteLLM                     x-litellm-key-remaining-{requests,tokens}-MODEL, and all of the above behind llm_provider-
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from bucketline.catalog import Limits

__all__ = ["Reading", "read_limits", "reset_s", "whose"]

_DIMENSIONS = ("requests", "tokens", "input_tokens", "output_tokens")
_KINDS = ("limit", "remaining", "reset")
_GO = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_LITELLM = re.compile(r"x-litellm-key-remaining-(requests|tokens)(?:-.+)?")
_PREFIX = "llm_provider-"
_MINUTE_S = 90.0  #: what refills within this is a figure per minute
_DAY_S = 120.0  #: what is full again only after this is none
_MOST_S = 31 * 86400.0  #: no limit is longer; a larger figure is a misreading
_MOST = 10**12
#: what a provider names → the figures that it may mean
_FIGURES = {
    "requests": ("rpm", "rpd"),
    "tokens": ("tpm", "tpd", "input_tpm", "output_tpm"),
    "input_tokens": ("input_tpm",),
    "output_tokens": ("output_tpm",),
    "concurrency": ("concurrency",),
    "day": ("rpd", "tpd"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One limit as a provider states it; None is unsaid. ``reset_s`` is the time until all of it is there again."""

    dimension: str  #: requests, tokens, input_tokens or output_tokens
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None

    @property
    def per_minute(self) -> bool | None:
        """Whether the figure is one per minute; None where it cannot be told.

        Of a limit that refills evenly, the time until it is full tells the period: the used share of it.
        """
        if self.reset_s is None:
            return None
        if self.reset_s > _DAY_S:
            return False
        if self.limit is None or self.remaining is None or self.remaining >= self.limit:
            return None
        period_s = self.reset_s * self.limit / (self.limit - self.remaining)
        return True if period_s <= _MINUTE_S else None


def whose(scopes: Sequence[tuple[str, Limits]], named: str | None) -> int:
    """The place, among a route's scopes, of the one whose limit a provider means by a word, or by none.

    The model's own, where it has limits of its own: other models of the account need not stop for it. But a figure that
    only the account has is the account's.
    """
    figures = _FIGURES.get(named or "", ())
    for place in range(len(scopes) - 1, -1, -1):
        if any(getattr(scopes[place][1], figure) is not None for figure in figures):
            return place
    return len(scopes) - 1


def read_limits(headers: Mapping[str, str]) -> list[Reading]:
    """All limits that the headers name."""
    found: dict[str, dict[str, str]] = {}
    date = None
    for spelled, value in headers.items():
        name = spelled.lower()
        if name == "date":
            date = value
        elif "limit" in name or "litellm" in name:
            place = _place(name.removeprefix(_PREFIX))
            if place is not None:
                found.setdefault(place[0], {}).setdefault(place[1], value)
    if not found:
        return []
    readings = (
        Reading(
            dimension, _count(says.get("limit"), 1), _count(says.get("remaining"), 0), reset_s(says.get("reset"), date)
        )
        for dimension, says in found.items()
        if not _senseless(says.get("limit"))
    )
    return [reading for reading in readings if reading.limit is not None or reading.remaining is not None]


def reset_s(text: str | None, date: str | None) -> float | None:
    """Seconds until a reset, from a Go duration, seconds, a unix time, or an RFC 3339 time beside ``Date``."""
    text = (text or "").strip()
    if not text:
        return None
    number = _number(text)
    if number is not None:
        if number < 1e9:
            return min(max(0.0, number), _MOST_S)
        then_s: float | None = number / 1000 if number > 1e11 else number
    else:
        match = _GO.fullmatch(text)
        if match is not None and any(match.groups()):
            hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
            return min(hours * 3600 + minutes * 60 + seconds + millis / 1000, _MOST_S)
        then_s = _timestamp(text)
    now_s = _http_date(date)
    return None if then_s is None or now_s is None else min(max(0.0, then_s - now_s), _MOST_S)


def _place(name: str) -> tuple[str, str] | None:
    """The dimension and the kind that a header's name stands for."""
    litellm = _LITELLM.fullmatch(name)
    if litellm is not None:
        return litellm[1], "remaining"
    if name.startswith("anthropic-ratelimit-"):
        dimension, _, kind = name.removeprefix("anthropic-ratelimit-").rpartition("-")
    elif name.startswith("x-ratelimit-"):
        kind, _, dimension = name.removeprefix("x-ratelimit-").partition("-")
        dimension = dimension or "requests"
    elif name.startswith("x-tokenlimit-"):
        kind, _, rest = name.removeprefix("x-tokenlimit-").partition("-")
        dimension = "tokens" if not rest else ""
    else:
        return None
    dimension = dimension.replace("-", "_")
    return (dimension, kind) if dimension in _DIMENSIONS and kind in _KINDS else None


def _senseless(limit: str | None) -> bool:
    number = None if limit is None else _number(limit)
    return number is not None and number <= 0


def _count(text: str | None, least: int) -> int | None:
    number = None if text is None else _number(text)
    return int(number) if number is not None and least <= number <= _MOST else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _timestamp(text: str) -> float | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return _http_date(text)
    return when.timestamp() if when.tzinfo is not None else None


def _http_date(text: str | None) -> float | None:
    try:
        when = parsedate_to_datetime(text) if text else None
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return None if when is None or when.tzinfo is None else when.timestamp()
