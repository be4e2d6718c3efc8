"""A worker's sign of life: what one process does, and what its lines wait for.

Comes in: what a worker says of itself every other second. Goes out: a small hash in Redis, and the same back as a ``Sign``
for ``top``, ``why`` and ``status``. Counts and names only; lists are cut to the longest few, so that the hash stays small with
however many batches. A sign that cannot be read is no sign: workers of another version may be at work beside ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from bucketline import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["SIGN_S", "BatchSign", "Hold", "Reason", "Sign", "Trouble", "Wait", "read_sign", "read_signs", "write_sign"]

SIGN_S = 2.0  #: how often a worker gives a sign of life
_BATCHES, _WAITS, _HOLDS, _TROUBLES = 40, 80, 20, 40


class Reason(StrEnum):
    """What a line of an open shard can wait for; the names are metric labels too."""

    PAUSED = "paused"  #: an operator's pause of the batch
    ROUTE = "route"  #: every route is closed
    PERMIT = "permit"  #: the fleet's limits
    BACKOFF = "backoff"  #: the time before another attempt
    PLACE = "place"  #: this process has as many calls in flight as it may
    EQUAL = "equal"  #: an equal request of the same batch, which is sent for both
    MEMORY = "memory"  #: answers wait for Redis or the store, and no more may come in


@dataclass(frozen=True, slots=True)
class Wait:
    """Lines of one batch that wait for one thing. ``where``: a scope for permits, routes for routes and backoffs."""

    batch_id: str
    reason: str
    where: str
    lines: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What holds up those who wait for permits of one lane."""

    lane: str  #: the lane's last scope
    scope: str  #: the scope that has no room
    reason: str  #: requests, tokens, input_tokens, output_tokens, concurrency, requests_day, tokens_day, paused, order, money
    waiting: int
    next_tokens: int  #: what the first in line will likely use
    oldest_s: float  #: how long it has been waiting


@dataclass(frozen=True, slots=True)
class Trouble:
    """Failed calls of one kind on one route in the last minute."""

    route: str
    kind: str
    count: int
    last_s: float  #: unix time


@dataclass(frozen=True, slots=True)
class BatchSign:
    """One batch in one process."""

    batch_id: str
    open_lines: int
    in_flight: int
    lines_per_s: float


@dataclass(frozen=True, slots=True)
class Sign:
    """One worker process. Times are unix seconds; ``cpu`` is a share of one core, None where it is not known."""

    worker_id: str
    seen_s: float
    started_s: float = 0.0
    in_flight: int = 0
    places: int = 0  #: calls that it may have in flight
    open_lines: int = 0
    open_shards: int = 0
    cpu: float | None = None
    memory_bytes: int | None = None
    lag_s: float = 0.0  #: the longest that its loop was late since the last sign
    lease_s: float = 15.0
    batches: tuple[BatchSign, ...] = ()
    waits: tuple[Wait, ...] = ()
    holds: tuple[Hold, ...] = ()
    troubles: tuple[Trouble, ...] = ()


_NUMBERS = ("in_flight", "places", "open_lines", "open_shards", "memory_bytes")
_FLOATS = ("seen_s", "started_s", "cpu", "lag_s", "lease_s")


def write_sign(sign: Sign) -> dict[str, Any]:
    """The hash's fields."""
    fields = {name: value for name in (*_NUMBERS, *_FLOATS) if (value := getattr(sign, name)) is not None}
    detail = {
        "batches": [[b.batch_id, b.open_lines, b.in_flight, round(b.lines_per_s, 2)] for b in sign.batches[:_BATCHES]],
        "waits": [
            [w.batch_id, w.reason, w.where, w.lines] for w in sorted(sign.waits, key=lambda w: -w.lines)[:_WAITS]
        ],
        "holds": [
            [h.lane, h.scope, h.reason, h.waiting, h.next_tokens, round(h.oldest_s, 1)]
            for h in sorted(sign.holds, key=lambda h: -h.waiting)[:_HOLDS]
        ],
        "troubles": [
            [t.route, t.kind, t.count, round(t.last_s, 1)]
            for t in sorted(sign.troubles, key=lambda t: -t.last_s)[:_TROUBLES]
        ],
    }
    return {**fields, "detail": orjson.dumps(detail)}


def read_sign(worker_id: str, raw: Mapping[bytes, bytes]) -> Sign | None:
    """What ``write_sign`` wrote; None where it is gone, or not of this version."""
    if not raw:
        return None
    try:
        given: dict[str, Any] = {name: int(raw[name.encode()]) for name in _NUMBERS if name.encode() in raw}
        given |= {name: float(raw[name.encode()]) for name in _FLOATS if name.encode() in raw}
        detail = orjson.loads(raw.get(b"detail", b"{}"))
        return Sign(
            worker_id=worker_id,
            batches=tuple(BatchSign(*row) for row in detail.get("batches", ())),
            waits=tuple(Wait(*row) for row in detail.get("waits", ())),
            holds=tuple(Hold(*row) for row in detail.get("holds", ())),
            troubles=tuple(Trouble(*row) for row in detail.get("troubles", ())),
            **given,
        )
    except (ValueError, TypeError, AttributeError):
        return None


async def read_signs(redis: Redis, worker_ids: Sequence[str] | None = None) -> list[Sign]:
    """The signs of all workers that are alive, or of those that are named."""
    if worker_ids is None:
        worker_ids = [raw.decode() for raw in await redis.zrange(keys.WORKERS, 0, -1)]
    pipe = redis.pipeline(transaction=False)
    for worker_id in worker_ids:
        pipe.hgetall(keys.worker_hash(worker_id))
    found = zip(worker_ids, await pipe.execute(), strict=True)
    return [sign for worker_id, raw in found if (sign := read_sign(worker_id, raw)) is not None]
