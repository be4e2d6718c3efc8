"""A batch's document as the store has it.

Comes in: a store and a batch's id. Goes out: what was submitted. It never changes once written, so a process that works on many
shards of a batch keeps it. Called by whoever needs more of a batch than the ledger says; writes nothing.
"""

from __future__ import annotations

from bucketline.batch import BatchDocument
from bucketline.layout import batch_document
from bucketline.store import Store

__all__ = ["Documents", "read_document"]

_KEPT = 64


async def read_document(store: Store, batch_id: str) -> BatchDocument:
    """Raises NotFound where there is no such batch, and the store's errors."""
    return BatchDocument.model_validate_json(await store.get(batch_document(batch_id)))


class Documents:
    """The documents that one process read last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, BatchDocument] = {}

    async def get(self, batch_id: str) -> BatchDocument:
        """As ``read_document``, once a batch."""
        document = self._kept.get(batch_id)
        if document is None:
            document = self._kept[batch_id] = await read_document(self._store, batch_id)
            while len(self._kept) > _KEPT:
                self._kept.pop(next(iter(self._kept)))
        return document
