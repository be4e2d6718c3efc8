"""When a provider's day begins anew.

Comes in: a moment, the hour and the zone of the reset. Goes out: the next such moment. Pure; called by ``health`` and by
the daily limits of the gate.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

__all__ = ["next_reset_s"]


def next_reset_s(now_s: float, hour: int, zone: str) -> float:
    """The first moment after ``now_s`` (unix seconds) at which it is ``hour`` o'clock in ``zone``.

    >>> next_reset_s(0.0, 0, "UTC")
    86400.0
    """
    here = datetime.fromtimestamp(now_s, ZoneInfo(zone))
    reset = here.replace(hour=hour, minute=0, second=0, microsecond=0)
    if reset <= here:
        reset = (reset + timedelta(days=1)).replace(hour=hour)
    return reset.timestamp()
