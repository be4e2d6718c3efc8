"""Figures as people read them: counts, spans, shares, money, times of day.

Comes in: a number with its unit in the argument's name. Goes out: a short text. Called wherever a person looks: the bar, the
tables, the monitor, the reasons. Documents for programs never pass through here.
"""

from __future__ import annotations

from datetime import UTC, datetime

from bucketline.money import usd

__all__ = ["bar", "cents", "clock", "percent", "seconds_in_words", "short_bytes", "short_count"]

_FULL, _EMPTY = "█", "░"


def short_count(number: float) -> str:
    """1234567 → ``1.2M``.

    >>> short_count(999), short_count(999_960), short_count(1_234_567)
    ('999', '1.0M', '1.2M')
    """
    for step, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.99995 * step:  # what would be rounded to 1000.0 of the smaller unit
            return f"{number / step:.1f}{letter}"
    return f"{number:.0f}"


def short_bytes(number: float) -> str:
    """Bytes in the units of memory: 161061273 → ``154M``."""
    for power, letter in ((3, "G"), (2, "M"), (1, "k")):
        if number >= 1024**power:
            return f"{number / 1024**power:.0f}{letter}"
    return f"{number:.0f}"


def seconds_in_words(seconds: float) -> str:
    """Whole seconds, at most two units.

    >>> seconds_in_words(75), seconds_in_words(93_600)
    ('1m15s', '1d02h')
    """
    whole = max(0, round(seconds))
    if whole >= 86400:
        return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def cents(nanousd: int) -> str:
    """Money at a glance: four decimals below a dollar, two above."""
    exact = usd(nanousd) or "0"
    return f"${float(exact):,.2f}" if nanousd >= 1_000_000_000 else f"${float(exact):.4f}"


def percent(share: float) -> str:
    """A share of one: 0.934 → ``93 %``; no share between the two ends is rounded to an end."""
    whole = round(100 * share)
    if 0 < share < 1:
        whole = min(99, max(1, whole))
    return f"{whole} %"


def clock(unix_s: float, now_s: float) -> str:
    """A moment: the time of day in UTC, with its day where that is not today's.

    >>> clock(1767225600, 1767222000)
    '00:00 UTC on 2026-01-01'
    """
    then, now = datetime.fromtimestamp(unix_s, UTC), datetime.fromtimestamp(now_s, UTC)
    seconds = abs(unix_s - now_s) < 120
    text = f"{then:%H:%M:%S} UTC" if seconds else f"{then:%H:%M} UTC"
    return text if then.date() == now.date() else f"{text} on {then:%Y-%m-%d}"


def bar(share: float, width: int) -> str:
    """A share of one as blocks; whatever is used shows at least one, and whatever is left too.

    >>> bar(0.5, 4)
    '██░░'
    """
    full = max(int(share > 0), min(width - int(share < 1), round(width * share)))
    return _FULL * full + _EMPTY * (width - full)
