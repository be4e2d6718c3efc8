"""How long to wait before the same route is tried again.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015): a uniform draw between zero and a
bound that doubles with each failure up to a cap. What a provider told is a floor, never a ceiling, and may exceed the
cap. Pure: the draw arrives as an argument.
"""

from __future__ import annotations

__all__ = ["RELEASE_JITTER", "backoff_s", "told_s"]

RELEASE_JITTER = 0.1  #: up to this share is added to told delays, so that workers do not come back together


def backoff_s(failures: int, base_s: float, cap_s: float, draw: float) -> float:
    """The wait after the ``failures``-th failure (from 1); ``draw`` is uniform in [0, 1).

    >>> backoff_s(1, 0.5, 30, 0.999999) < 0.5
    True
    >>> backoff_s(40, 0.5, 30, 0.5)
    15.0
    """
    bound_s = min(cap_s, base_s * 2.0 ** min(failures - 1, 60))
    return bound_s * draw


def told_s(retry_after_s: float, draw: float) -> float:
    """The wait that a provider asked for, a little more of it by ``draw`` in [0, 1)."""
    return retry_after_s * (1.0 + RELEASE_JITTER * draw)
