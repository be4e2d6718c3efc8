"""What the fleet's own traffic shows of each route: latency, speed, success.

Comes in: the decayed sums that workers keep in Redis (``worker.measured`` adds to them). Goes out: a ``Measured`` a route,
for the ``fastest`` policy, ``providers`` and ``top``. Old calls fade: their weight halves every ten minutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bucketline import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["HALF_LIFE_S", "Measured", "bucket_of", "measured_from", "measured_of", "read_measured"]

HALF_LIFE_S = 600.0  #: after this a call counts half
_LOG_GROWTH = math.log(1.1)  #: latency buckets are a tenth wider than the one before: five percent of error
_BUCKET = "l"  #: the fields of latency buckets begin with this


@dataclass(frozen=True, slots=True)
class Measured:
    """One route. Counts are decayed, so they are no whole numbers; None is not known."""

    calls: float  #: that ended with an answer or with a failure of the route
    success: float | None  #: share of those that were answered
    latency_s: float | None  #: mean of the answered ones
    p50_s: float | None
    p95_s: float | None
    tokens_per_s: float | None  #: output tokens over the time of the answered calls
    reasoning_share: float | None  #: of the output tokens


def bucket_of(latency_s: float) -> int:
    """The latency bucket of an answer; its name in the sums is ``l`` and this number."""
    return math.ceil(math.log(max(latency_s, 0.001)) / _LOG_GROWTH)


def measured_of(sums: Mapping[str, float]) -> Measured:
    """The figures that sums stand for.

    ``answered`` and ``failed`` count calls, ``seconds`` is the answered ones' time, ``output`` and ``reasoning`` their
    tokens, ``l…`` their latencies by bucket.
    """
    answered, failed, seconds = sums.get("answered", 0.0), sums.get("failed", 0.0), sums.get("seconds", 0.0)
    output = sums.get("output", 0.0)
    calls = answered + failed
    buckets = sorted((int(name[1:]), count) for name, count in sums.items() if name.startswith(_BUCKET))
    return Measured(
        calls=calls,
        success=answered / calls if calls > 0 else None,
        latency_s=seconds / answered if answered > 0 else None,
        p50_s=_quantile(buckets, 0.5),
        p95_s=_quantile(buckets, 0.95),
        tokens_per_s=output / seconds if seconds > 0 and output > 0 else None,
        reasoning_share=sums.get("reasoning", 0.0) / output if output > 0 else None,
    )


async def read_measured(redis: Redis, names: Sequence[str]) -> dict[str, Measured]:
    """What is known of the named routes (``provider/model``); those without traffic lately are left out."""
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(keys.measured(name))
    found = zip(names, await pipe.execute(), strict=True)
    return {name: known for name, raw in found if (known := measured_from(raw)) is not None}


def measured_from(raw: Mapping[bytes, bytes]) -> Measured | None:
    """The figures of one route from its hash in Redis; None where there is none."""
    return (
        measured_of({name.decode(): float(value) for name, value in raw.items() if name != b"at_ms"}) if raw else None
    )


def _quantile(buckets: Sequence[tuple[int, float]], share: float) -> float | None:
    total = sum(count for _, count in buckets)
    if total <= 0:
        return None
    seen = 0.0
    for bucket, count in buckets:
        seen += count
        if seen >= share * total - 1e-9:
            return round(math.exp((bucket - 0.5) * _LOG_GROWTH), 4)
    return None
