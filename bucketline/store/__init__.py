"""The store: objects in a folder or a bucket, written whole or not at all."""

from bucketline.store.base import (
    BLOCK_BYTES,
    Changed,
    Exists,
    NotFound,
    Stat,
    Store,
    StoreError,
    StoreFull,
    StoreUnavailable,
    Writer,
)
from bucketline.store.open import open_store

__all__ = [
    "BLOCK_BYTES",
    "Changed",
    "Exists",
    "NotFound",
    "Stat",
    "Store",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "Writer",
    "open_store",
]
