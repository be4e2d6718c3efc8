"""The manifests of a store, one small object a batch.

Comes in: a store, and from which day on. Goes out: manifests, oldest first or newest first, read a few at a time. Finish
leaves a copy of each manifest under a name that begins with the day the batch was made, so neither ``spend`` nor
``estimate`` has to list the parts of every batch there ever was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bucketline.layout import MANIFESTS, day_of_manifest_copy
from bucketline.manifest import BadManifest, Manifest
from bucketline.store import NotFound, Store

__all__ = ["manifest_keys", "manifests"]

_AT_ONCE = 16


async def manifest_keys(store: Store, *, since: str = "", until: str = "9999") -> list[str]:
    """Names of the copies of batches made on those days (``YYYY-MM-DD``, both included), oldest first."""
    keys = [stat.key async for stat in store.list(MANIFESTS)]
    return [key for key in keys if since <= day_of_manifest_copy(key) <= until]


async def manifests(store: Store, keys: list[str]) -> AsyncIterator[Manifest]:
    """The manifests under these names, in their order; one that has gone or cannot be read is passed over."""
    for first in range(0, len(keys), _AT_ONCE):
        for found in await asyncio.gather(*(_read(store, key) for key in keys[first : first + _AT_ONCE])):
            if found is not None:
                yield found


async def _read(store: Store, key: str) -> Manifest | None:
    try:
        return Manifest.parse(await store.get(key))
    except (NotFound, BadManifest):
        return None
