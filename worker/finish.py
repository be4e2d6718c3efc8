"""The end of a batch: merge, manifest, and the state that says it is over.

Comes in: a batch whose last shard has ended. Goes out: the results, then ``manifest.json`` last, then the ledger's
final state, in this order: whoever sees a final state finds the files. It may run any number of times, twice at once too;
the first manifest that is there is believed. Called by the queue's finish job.
"""

from __future__ import annotations

from collections.abc import Callable

from bucketline.batch import BatchDocument, State
from bucketline.bill import build_manifest
from bucketline.catalog import Catalog
from bucketline.documents import read_document
from bucketline.failure import Code
from bucketline.layout import manifest_copy, manifest_object, manifest_page, unfinished_mark
from bucketline.ledger import Ledger
from bucketline.manifest import FileFacts, Manifest
from bucketline.manifest_page import manifest_text
from bucketline.money import nano_from_usd
from bucketline.prices import PriceBook
from bucketline.store import Exists, NotFound, Store
from worker.logs import logger
from worker.merge import Merged, merge

__all__ = ["finish_batch"]

_log = logger(__name__)


async def finish_batch(
    batch_id: str, store: Store, ledger: Ledger, *, book: PriceBook, catalog: Catalog, clock: Callable[[], float]
) -> State:
    """Bring a batch to its final state. Raises LinesMissing, LedgerGone and the store's errors."""
    document = await read_document(store, batch_id)
    manifest = await _present(store, batch_id)
    if manifest is None:
        moved = await ledger.move(batch_id, State.FINALIZING)
        merged = await merge(store, document)
        status = _status(merged, cancelled=moved in (State.CANCELLING, State.CANCELLED))
        manifest = build_manifest(
            document,
            merged.tally,
            status=status,
            finished_s=clock(),
            files=_files(document, merged),
            book=book,
            catalog=catalog,
        )
        await store.put(manifest_page(batch_id), manifest_text(manifest).encode())
        await store.put(manifest_copy(manifest.created_at[:10], batch_id), manifest.encode())
        try:
            await store.put(manifest_object(batch_id), manifest.encode(), if_absent=True)
        except Exists:
            manifest = await _present(store, batch_id) or manifest
        _log.info("batch_finished", batch=batch_id, status=manifest.status, **manifest.counts_for_log())
    state = State(manifest.status)
    await ledger.finish(batch_id, state, clock(), counters=_counters(manifest), shards=len(document.shards))
    await store.delete(unfinished_mark(batch_id))
    return state


def _counters(manifest: Manifest) -> dict[str, int]:
    """What the ledger shows from now on: Redis may have lost some on the way, the manifest has not."""
    counts = manifest.counts
    return {
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "attempts": counts.attempts,
        "nanousd": nano_from_usd(manifest.cost.usd),
        "unpriced": manifest.cost.unknown_cost,
    }


async def _present(store: Store, batch_id: str) -> Manifest | None:
    try:
        return Manifest.parse(await store.get(manifest_object(batch_id)))
    except NotFound:
        return None


def _status(merged: Merged, *, cancelled: bool) -> State:
    """Cancelled when someone said so, expired when the window cut lines off, else completed."""
    if cancelled:
        return State.CANCELLED
    return State.EXPIRED if merged.tally.errors.get(Code.EXPIRED) else State.COMPLETED


def _files(document: BatchDocument, merged: Merged) -> dict[str, FileFacts]:
    return {
        "output.jsonl": _facts(merged.output.lines, merged.output.size_bytes, merged.output.sha256),
        "errors.jsonl": _facts(merged.errors.lines, merged.errors.size_bytes, merged.errors.sha256),
        "input.jsonl": _facts(document.lines, document.input_bytes, document.input_sha256),
    }


def _facts(lines: int, size_bytes: int, sha256: str) -> FileFacts:
    return FileFacts(lines=lines, bytes=size_bytes, sha256=sha256)
