"""Results, fetched: the files of a batch that is over, into a folder or another store.

Comes in: a batch id and a place. Goes out: ``output.jsonl``, ``errors.jsonl``, ``manifest.md`` and ``manifest.json`` there,
the manifest last, each digest compared with the manifest's. Streams; a file appears whole or not at all. Called by the
``results`` command, the client and the inbox.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from bucketline.errors import BatchNotFound, BucketlineError, NotFinished
from bucketline.jsonl import records
from bucketline.layout import batch_document, errors_object, manifest_object, manifest_page, output_object
from bucketline.splice import loads
from bucketline.store import NotFound, Store
from producer.watch import manifest_of

__all__ = ["DamagedResults", "copy_results", "finished_manifest", "rows"]


class DamagedResults(BucketlineError):
    """A file of the results is not the one that the manifest describes."""


async def finished_manifest(batch_id: str, store: Store) -> dict[str, Any]:
    """The manifest of a batch that is over. Raises NotFinished before that, BatchNotFound where there is no batch."""
    manifest = await manifest_of(batch_id, store)
    if manifest is not None:
        return manifest
    try:
        await store.stat(batch_document(batch_id))
    except NotFound:
        raise BatchNotFound(f"There is no batch {batch_id} in {store.address}.") from None
    raise NotFinished(f"{batch_id} is not finished; `bucketline wait {batch_id}` waits for it.")


async def copy_results(batch_id: str, store: Store, to: Store, prefix: str = "") -> dict[str, Any]:
    """Copy the results under a prefix of another store, the manifest last; returns the manifest.

    Raises NotFinished, BatchNotFound, DamagedResults, and the errors of both stores.
    """
    manifest = await finished_manifest(batch_id, store)
    for name, key in (("output.jsonl", output_object(batch_id)), ("errors.jsonl", errors_object(batch_id))):
        await _copy(store, key, to, prefix + name, manifest.get("files", {}).get(name, {}).get("sha256"))
    with contextlib.suppress(NotFound):  # the page is for people's comfort; the results are whole without it
        await _copy(store, manifest_page(batch_id), to, prefix + "manifest.md", None)
    await _copy(store, manifest_object(batch_id), to, prefix + "manifest.json", None)
    return manifest


async def rows(batch_id: str, store: Store, *, failed: bool = False) -> AsyncIterator[dict[str, Any]]:
    """The answered lines in input order, or with ``failed`` the others, one at a time."""
    await finished_manifest(batch_id, store)
    async for record in records(store.read(errors_object(batch_id) if failed else output_object(batch_id))):
        yield loads(record.raw)


async def _copy(store: Store, key: str, to: Store, name: str, sha256: str | None) -> None:
    async with to.writer(name) as writer:
        async for block in store.read(key):
            await writer.write(block)
    if sha256 is not None and writer.sha256 != sha256:
        await to.delete(name)
        raise DamagedResults(
            f"{key} is not the file that the manifest describes (its SHA-256 is {writer.sha256[:16]}…); "
            "`bucketline verify` says what can be saved."
        )
