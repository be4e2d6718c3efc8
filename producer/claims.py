"""Who submits what: signs of life of producers, and claims on sources.

Comes in: a batch id that a submit made up, and the digest of an idempotency key or of a version of an inbox object.
Goes out: whether the submit is the one that may go on, or the id of the batch that the source became. An id under
``SUBMITTING`` shows that its producer lives; a claim whose producer died before ``batch.json`` is taken over. Called by
``submit`` and ``inbox``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from redis.exceptions import RedisError, WatchError

from bucketline import keys
from bucketline.layout import batch_document
from bucketline.store import Store
from producer.watch import stats_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["REFUSED", "Claims", "Sign", "Standing", "signs_of_life", "source_digest"]

REFUSED = "refused"  #: how a claim begins whose source can be no batch
_LIFE_S = 30 * 24 * 3600
_BEAT_S = 5.0
_DEAD_S = 30.0  #: a producer silent for so long has died; the sweep's figure too
_AT_ONCE = 500  #: asked in one round trip


def source_digest(*parts: str) -> str:
    """The digest of what tells one source from all others."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:40]


class Standing(Enum):
    """What has become of the batch that a claim names."""

    STANDS = "stands"
    UNDER_WAY = "under way"  #: its producer lives
    DEAD = "dead"  #: its producer died before there was a batch


@dataclass(slots=True)
class Sign:
    """A producer's sign of life. ``keep``: it outlives the producer, since what it wrote must be looked after."""

    keep: bool = False


@contextlib.asynccontextmanager
async def signs_of_life(redis: Redis, batch_id: str) -> AsyncIterator[Sign]:
    """Show that a submit is under way, until the block ends.

    A producer that is killed leaves its sign, and so does one that ends with ``keep`` set: by it the sweep finds a
    batch whose work was never queued.
    """
    sign = Sign()
    await _show(redis, batch_id)
    beat = asyncio.create_task(_beat(redis, batch_id), name="signs-of-life")
    try:
        yield sign
    finally:
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        if not sign.keep:
            with contextlib.suppress(RedisError, OSError):
                await redis.zrem(keys.SUBMITTING, batch_id)


async def _beat(redis: Redis, batch_id: str) -> None:
    while True:
        await asyncio.sleep(_BEAT_S)
        with contextlib.suppress(RedisError, OSError):
            await _show(redis, batch_id)


async def _show(redis: Redis, batch_id: str) -> None:
    await redis.zadd(keys.SUBMITTING, {batch_id: await _redis_time_s(redis)})


async def _redis_time_s(redis: Redis) -> float:
    """Redis' own clock: producers on machines whose clocks differ must not take each other for dead."""
    seconds, micros = await redis.time()
    return float(seconds) + float(micros) / 1e6


class Claims:
    """Claims on sources, fleet-wide."""

    def __init__(self, redis: Redis, store: Store) -> None:
        self._redis = redis
        self._store = store

    async def take(self, digest: str, batch_id: str, *, over: Callable[[str], bool] = lambda _: False) -> str | None:
        """Claim a source for a batch; None when it is ours, else the holder (a batch id, or a refusal).

        The id must be under ``SUBMITTING`` already, so that no claim is ever without a living owner unseen. A holder
        for which ``over`` is true is replaced, as is one that died.
        """
        key = keys.source_claim(digest)
        while True:
            if await self._redis.set(key, batch_id, nx=True, ex=_LIFE_S):
                return None
            holder = await self.holder(digest)
            if holder is None:
                continue
            if not over(holder):
                if holder.startswith(REFUSED):
                    return holder
                (standing,) = await self.standings([holder])
                if standing is not Standing.DEAD:
                    return holder
            if await self._exchange(key, holder, batch_id):
                return None

    async def holder(self, digest: str) -> str | None:
        """What a source became; None when nobody claimed it."""
        raw = await self._redis.get(keys.source_claim(digest))
        return None if raw is None else raw.decode()

    async def holders(self, digests: Sequence[str]) -> list[str | None]:
        """``holder`` of many, few round trips; the claims live on for another month."""
        found: list[str | None] = []
        for at in range(0, len(digests), _AT_ONCE):
            pipe = self._redis.pipeline(transaction=False)
            for digest in digests[at : at + _AT_ONCE]:
                pipe.getex(keys.source_claim(digest), ex=_LIFE_S)
            found += [None if one is None else one.decode() for one in await pipe.execute()]
        return found

    async def hand_over(self, digest: str, batch_id: str, to: str) -> None:
        """Write down what our source is instead: a batch that it became before, or a refusal."""
        await self._exchange(keys.source_claim(digest), batch_id, to)

    async def standings(self, batch_ids: Sequence[str]) -> list[Standing]:
        """What has become of many batches, in few round trips; the store is asked only about those that Redis lacks."""
        found: list[Standing] = []
        for at in range(0, len(batch_ids), _AT_ONCE):
            found += await self._some_standings(batch_ids[at : at + _AT_ONCE])
        return found

    async def _some_standings(self, batch_ids: Sequence[str]) -> list[Standing]:
        pipe = self._redis.pipeline(transaction=False)
        for batch_id in batch_ids:
            # in this order: a sign of life ends only when the batch is there
            pipe.zscore(keys.SUBMITTING, batch_id)
            pipe.exists(keys.batch_hash(batch_id))
        pipe.time()
        *answers, (seconds, _) = await pipe.execute()
        found = dict.fromkeys(batch_ids, Standing.DEAD)
        for batch_id, seen_s, is_known in zip(batch_ids, answers[::2], answers[1::2], strict=True):
            if seen_s is not None and int(seconds) - seen_s < _DEAD_S:
                found[batch_id] = Standing.UNDER_WAY
            elif is_known:
                found[batch_id] = Standing.STANDS
        lacking = [batch_id for batch_id, standing in found.items() if standing is Standing.DEAD]
        stored = await stats_of(self._store, [batch_document(batch_id) for batch_id in lacking])
        found |= {batch_id: Standing.STANDS for batch_id, stat in zip(lacking, stored, strict=True) if stat is not None}
        return [found[batch_id] for batch_id in batch_ids]

    async def release(self, digest: str, batch_id: str) -> None:
        """Give a claim back, if it is still this batch's."""
        await self._exchange(keys.source_claim(digest), batch_id, None)

    async def _exchange(self, key: str, old: str, new: str | None) -> bool:
        """Replace a claim's holder, or drop the claim, only where it is still ``old``."""
        async with self._redis.pipeline(transaction=True) as pipe:
            try:
                await pipe.watch(key)
                held = await pipe.get(key)
                if held is None or held.decode() != old:
                    return False
                pipe.multi()
                if new is None:
                    pipe.delete(key)
                else:
                    pipe.set(key, new, ex=_LIFE_S)
                await pipe.execute()
            except WatchError:
                return False
        return True
