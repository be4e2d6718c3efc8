"""When a provider's daily counters start anew.

Comes in: a moment, the hour and the zone of the reset. Goes out: the next reset after the moment. The zone's own rules
say how long a day is. Pure: the moment is Redis's, brought by ``limiter``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["next_reset_s"]


def next_reset_s(now_s: float, hour: int, zone: str) -> float:
    """The first moment after ``now_s`` (unix seconds) at which it is ``hour`` o'clock in ``zone``.

    >>> next_reset_s(0.0, 0, "America/Los_Angeles")
    28800.0
    """
    here = datetime.fromtimestamp(now_s, _zone(zone))
    reset = here.replace(hour=hour, minute=0, second=0, microsecond=0)
    while reset.timestamp() <= now_s:
        reset = (reset + timedelta(days=1)).replace(hour=hour)
    return reset.timestamp()


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
