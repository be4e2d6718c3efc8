"""Cleaning up after finished batches.

Comes in: an age. Goes out: which batches were over before that, and what of them was removed: their keys in Redis, then their
parts and orders in the store. The manifest is what tells that a batch is over and when; without it nothing is touched, and it
is read again just before. Results, manifest, input and document stay. Called by ``gc``; may be interrupted and run again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bucketline.documents import read_document
from bucketline.layout import (
    MANIFESTS,
    day_of_manifest_copy,
    manifest_object,
    orders_object,
    parts_prefix,
    unfinished_mark,
)
from bucketline.ledger import Ledger
from bucketline.manifest import Manifest
from bucketline.store import NotFound, Store

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Cleaned", "clean"]


@dataclass(slots=True)
class Cleaned:
    """What was removed, or would be."""

    batches: list[str] = field(default_factory=list)
    parts: int = 0
    size_bytes: int = 0


async def clean(store: Store, redis: Redis, ledger: Ledger, age_s: float, *, dry_run: bool = False) -> Cleaned:
    """Remove what finished batches of that age left behind. Raises Redis' and the store's errors."""
    seconds, _ = await redis.time()
    before = datetime.fromtimestamp(max(0.0, int(seconds) - age_s), UTC)
    done = Cleaned()
    async for batch_id in _old(store, before):
        left = await _clean_one(store, ledger, batch_id, done, dry_run=dry_run)
        if left:
            done.batches.append(batch_id)
    return done


async def _old(store: Store, before: datetime) -> AsyncIterator[str]:
    """Batches that were over by then, from the copies of the manifests, which lie together by day."""
    last_day = before.date().isoformat()
    async for stat in store.list(MANIFESTS):
        day, batch_id = day_of_manifest_copy(stat.key), stat.key.rsplit("/", 1)[-1].removesuffix(".json")
        if day > last_day:
            return
        finished = await _finished(store, batch_id)
        if finished is not None and finished < before:
            yield batch_id


async def _finished(store: Store, batch_id: str) -> datetime | None:
    """When a batch was over, by its manifest itself: the copy is written before it and may stand alone."""
    try:
        manifest = Manifest.parse(await store.get(manifest_object(batch_id)))
    except NotFound:
        return None
    return datetime.fromisoformat(manifest.finished_at)


async def _clean_one(store: Store, ledger: Ledger, batch_id: str, done: Cleaned, *, dry_run: bool) -> bool:
    """Whether anything was left. Redis first: a ledger whose parts are gone would promise what is not there."""
    known = not await ledger.unknown([batch_id])
    if known and not dry_run:
        await ledger.forget(batch_id, await _shards(store, batch_id))
    found = [stat async for stat in store.list(parts_prefix(batch_id))]
    done.parts += len(found)
    done.size_bytes += sum(stat.size_bytes for stat in found)
    if not dry_run:
        for key in [*(stat.key for stat in found), orders_object(batch_id), unfinished_mark(batch_id)]:
            await store.delete(key)
    return known or bool(found)


async def _shards(store: Store, batch_id: str) -> int:
    try:
        return len((await read_document(store, batch_id)).shards)
    except NotFound:
        return 0
