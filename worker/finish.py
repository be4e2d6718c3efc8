"""The end of a batch: merge, manifest, and the state that says it is over.

Comes in: a batch whose last shard has ended. Goes out: the results, then ``manifest.json`` last, then the ledger's
final state, in this order: whoever sees a final state finds the files. It may run any number of times; a manifest that
is there is believed. Called by the queue's finish job and by the sweep.
"""

from __future__ import annotations

from collections.abc import Callable

from bucketline.manifest import manifest_text
from bucketline.store import Store

from bucketline.batch import BatchDocument, State
from bucketline.layout import batch_document, manifest_object, manifest_page
from bucketline.ledger import Ledger
from worker.logs import logger
from worker.merge import merge

__all__ = ["finish_batch"]

_log = logger(__name__)


async def finish_batch(
    batch_id: str, store: Store, ledger: Ledger, prices: object, clock: Callable[[], float]
) -> State:
    """Bring a batch to its final state. Raises LinesMissing, LedgerGone and the store's errors."""
    document = BatchDocument.model_validate_json(await store.get(batch_document(batch_id)))
    present = await _manifest(store, batch_id)
    if present is None:
        moved = await ledger.move(batch_id, State.FINALIZING)
        cancelled = moved in (State.CANCELLING, State.CANCELLED)
        merged = await merge(store, document)
        present = _manifest_of(document, merged, cancelled, clock())
        await store.put(manifest_page(batch_id), manifest_text(present).encode())
        await store.put(manifest_object(batch_id), present.encode())
        _log.info("batch_finished", batch=batch_id, status=present.status, **present.counts_for_log())
    state = State(present.status)
    await ledger.finish(batch_id, state, clock())
    return state
