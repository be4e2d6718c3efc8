"""How far batches are: from Redis while they live, from the store afterwards.

Comes in: the ledger (None where Redis is out of reach) and the store. Goes out: ``Progress`` of one batch or of the
newest, and a wait for the end of one. Called by status, wait, run, the inbox and the HTTP door. It
only reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson

from bucketline.batch import TERMINAL, BatchDocument, Counts, Progress, State
from bucketline.documents import read_document
from bucketline.errors import BatchNotFound, NotFinished
from bucketline.layout import BATCHES, batch_document, batch_id_of, manifest_object
from bucketline.ledger import Ledger
from bucketline.money import nano_from_usd
from bucketline.store import NotFound, Stat, Store

__all__ = ["exit_code_of", "manifest_of", "progress_of", "recent", "stats_of", "wait_for"]

_LOOK_S = 0.5
_AT_ONCE = 16  #: objects looked at at once


async def progress_of(batch_id: str, ledger: Ledger | None, store: Store) -> Progress:
    """Where one batch stands. Raises BatchNotFound."""
    found = None if ledger is None else await ledger.progress(batch_id)
    if found is not None:
        return found
    manifest = await manifest_of(batch_id, store)
    if manifest is not None:
        return _of_manifest(manifest)
    try:
        return _of_document(await read_document(store, batch_id))
    except NotFound:
        raise BatchNotFound(f"There is no batch {batch_id} in {store.address}.") from None


async def recent(ledger: Ledger, store: Store, limit: int = 50) -> list[Progress]:
    """The newest batches, newest first; from the store where Redis knows none."""
    found = await ledger.recent(limit)
    if found:
        return found
    documents = [batch_document(batch_id) async for batch_id in store.folders(BATCHES)]
    stored = [stat for stat in await stats_of(store, documents) if stat is not None]
    newest = sorted(stored, key=lambda stat: stat.modified_s, reverse=True)[:limit]
    ids = [batch_id for stat in newest if (batch_id := batch_id_of(stat.key))]
    return [await progress_of(batch_id, None, store) for batch_id in ids]


async def stats_of(store: Store, names: Sequence[str]) -> list[Stat | None]:
    """The stats of many objects, a few at a time, None for those that are not there."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> Stat | None:
        async with room:
            try:
                return await store.stat(name)
            except NotFound:
                return None

    return await asyncio.gather(*map(one, names))


async def wait_for(
    batch_id: str,
    ledger: Ledger,
    store: Store,
    *,
    timeout_s: float | None = None,
    show: Callable[[Progress], None] = lambda _: None,
    look_s: float = _LOOK_S,
) -> Progress:
    """Wait for a batch's end. ``show`` hears of each look. Raises BatchNotFound, and NotFinished after the timeout."""
    ends_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        progress = await progress_of(batch_id, ledger, store)
        show(progress)
        if progress.state in TERMINAL:
            return progress
        if ends_s is not None and time.monotonic() >= ends_s:
            raise NotFinished(f"{batch_id} is {progress.state}, {progress.counts.percent} % of its lines are done.")
        await asyncio.sleep(look_s)


async def manifest_of(batch_id: str, store: Store) -> dict[str, Any] | None:
    """The manifest as a document; None before the batch is over."""
    try:
        manifest: dict[str, Any] = orjson.loads(await store.get(manifest_object(batch_id)))
    except NotFound:
        return None
    return manifest


def exit_code_of(progress: Progress) -> int:
    """0 all lines answered, 1 over with lines that were not, 3 not over yet."""
    if progress.state not in TERMINAL:
        return 3
    counts = progress.counts
    return 0 if progress.state is State.COMPLETED and counts.completed == counts.total else 1


def _of_document(document: BatchDocument) -> Progress:
    """A batch that Redis does not know and that is not over: its work is not queued, or Redis was emptied."""
    return Progress(
        id=document.id,
        source=document.source,
        state=State.VALIDATING,
        counts=Counts(total=document.lines, failed=document.rejected),
        nanousd=0,
        unpriced=False,
        tokens=0,
        created_s=document.created_s,
        reason="its work is not queued yet; a worker takes it up",
        deadline_s=document.deadline_s,
        waiting_shards=len(document.shards),
    )


def _of_manifest(manifest: dict[str, Any]) -> Progress:
    counts, usage, cost = manifest["counts"], manifest["usage"], manifest["cost"]
    return Progress(
        id=manifest["id"],
        source=manifest["source"],
        state=State(manifest["status"]),
        counts=Counts(counts["total"], counts["completed"], counts["failed"], counts["cancelled"]),
        nanousd=nano_from_usd(cost["usd"]),
        unpriced=not cost["complete"],
        tokens=usage.get("input_tokens", 0) + usage.get("output_tokens", 0),
        created_s=_unix_s(manifest["created_at"]),
        finished_s=_unix_s(manifest["finished_at"]),
        reason=manifest.get("reason"),
        attempts=counts.get("attempts", 0),
    )


def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
