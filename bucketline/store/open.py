"""From an address to a store.

Comes in: a folder, ``file:///folder``, or ``s3://bucket/prefix`` with options behind a ``?``. Goes out: a ``Store`` that
has not touched anything yet. An address that is none raises UsageError.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from bucketline.errors import UsageError
from bucketline.store.base import Store
from bucketline.store.folder import FolderStore

__all__ = ["open_store"]


def open_store(address: str) -> Store:
    """The store at an address; opening it reaches nothing, so it neither waits nor fails. Raises UsageError."""
    if not address.strip():
        raise UsageError("The store has no address; name a folder or s3://bucket/prefix.")
    if "://" not in address:
        return FolderStore(address)
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FolderStore(unquote(parts.path), address=address)
    raise UsageError(f"{parts.scheme}:// is no address of a store; name a folder or s3://bucket/prefix.")
