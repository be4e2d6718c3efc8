"""How long a provider asks us to wait, in seconds.

Comes in: the headers and the parsed error body of a refusal. Goes out: seconds, or None where nothing was said. No
clock is read: a date is compared with the response's own ``Date``. Order: ``retry-after-ms``, ``retry-after``,
Google's ``RetryInfo``, a unix ``x-ratelimit-reset``, the sentence. Called by ``errors``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["retry_after_s"]

_MOST_S = 31 * 86400.0  #: nobody asks for more than a month; a larger figure is a misreading
_SENTENCE = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+"
    r"(?:(\d+(?:\.\d+)?)\s*ms|(?:(\d+)\s*h[a-z]*\s*)?(?:(\d+)\s*m(?!s)[a-z]*\s*)?(?:(\d+(?:\.\d+)?)\s*s)?)",
    re.IGNORECASE,
)


def retry_after_s(headers: Mapping[str, str], error: Mapping[str, Any], message: str) -> float | None:
    """Seconds to wait, never negative; ``error`` is the error object of the body, ``message`` its sentence."""
    for found in (
        _number(headers.get("retry-after-ms"), 0.001),
        _retry_after(headers),
        _retry_info(error.get("details")),
        _reset(headers),
        _sentence(message),
    ):
        if found is not None:
            return found
    return None


def _number(text: str | None, factor: float = 1.0) -> float | None:
    if text is None:
        return None
    try:
        value = float(text) * factor
    except (ValueError, OverflowError):
        return None
    return min(max(value, 0.0), _MOST_S) if math.isfinite(value) else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds
    then, now = _date(text), _date(headers.get("date"))
    return None if then is None or now is None else min(max((then - now).total_seconds(), 0.0), _MOST_S)


def _date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return when if when.tzinfo is not None else None


def _retry_info(details: Any) -> float | None:
    """``google.rpc.RetryInfo``: ``{"retryDelay": "38.4s"}``."""
    if not isinstance(details, list):
        return None
    for detail in details:
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("RetryInfo"):
            return _number(str(detail.get("retryDelay", "")).removesuffix("s"))
    return None


def _reset(headers: Mapping[str, str]) -> float | None:
    """``x-ratelimit-reset`` as a unix time (LLM API in seconds, OpenRouter in milliseconds), against ``Date``."""
    reset, now = _unbounded(headers.get("x-ratelimit-reset")), _date(headers.get("date"))
    if reset is None or now is None or reset < 1e9:
        return None
    return min(max((reset / 1000 if reset > 1e11 else reset) - now.timestamp(), 0.0), _MOST_S)


def _unbounded(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _sentence(message: str) -> float | None:
    r"""Such as "try again in 5.289s", "after 1 seconds", "in 60ms", "in 7m12s"."""
    found = _SENTENCE.search(message)
    if found is None or not any(found.groups()):
        return None
    milliseconds, hours, minutes, seconds = (float(part or 0.0) for part in found.groups())
    return min(milliseconds / 1000 + hours * 3600 + minutes * 60 + seconds, _MOST_S)
