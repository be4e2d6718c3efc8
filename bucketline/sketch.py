"""A mergeable summary of latencies.

Comes in: one latency per answered line. Goes out: percentiles with at most one percent of relative error and the exact
maximum, from counts of buckets whose bounds grow by two percent (the sketch of Masson, Rim and Lee, "DDSketch",
VLDB 2019). Merging adds counts, so the order of lines and the cut into parts change nothing. Latencies are taken in
whole milliseconds, as a line of the results writes them.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["LatencySketch"]

_GROWTH = 1.02  #: (growth - 1) / (growth + 1) is the relative error: 0.0099
_LOG_GROWTH = math.log(_GROWTH)
_AT_ONCE = -1  #: the bucket of latencies under half a millisecond


class LatencySketch:
    """Counts of latencies by bucket. Two sketches of the same lines are equal, however they were merged."""

    __slots__ = ("_counts", "_max_ms")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._max_ms = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencySketch) and self.document() == other.document()

    __hash__ = None  # type: ignore[assignment]

    @property
    def count(self) -> int:
        """How many latencies were taken."""
        return sum(self._counts.values())

    @property
    def max_s(self) -> float:
        """The longest latency, exact to the millisecond."""
        return self._max_ms / 1000

    def add(self, latency_s: float) -> None:
        """Take one latency. It is rounded as the line writes it, so that both ways of counting agree."""
        ms = round(round(latency_s, 3) * 1000)
        bucket = math.ceil(math.log(ms) / _LOG_GROWTH) if ms > 0 else _AT_ONCE
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self._max_ms = max(self._max_ms, ms)

    def merge(self, other: LatencySketch) -> None:
        """Take everything that another sketch took."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self._max_ms = max(self._max_ms, other._max_ms)

    def quantile_s(self, share: float) -> float:
        """The latency that so large a share of the lines did not exceed; 0 where there was none."""
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                ms = 0.0 if bucket == _AT_ONCE else 2 * _GROWTH**bucket / (_GROWTH + 1)
                return round(min(ms, self._max_ms) / 1000, 3)
        return 0.0

    def document(self) -> dict[str, Any]:
        """How a part's header carries the sketch."""
        return {"max_ms": self._max_ms, "buckets": sorted(self._counts.items())}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> LatencySketch:
        """Read what ``document`` wrote."""
        sketch = cls()
        sketch._max_ms = int(document["max_ms"])
        sketch._counts = {int(bucket): int(count) for bucket, count in document["buckets"]}
        return sketch
