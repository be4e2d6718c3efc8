"""From an address to a store.

Comes in: a folder, ``file:///folder``, or ``s3://bucket/prefix`` with options behind a ``?`` (``s3_options``). Goes out: a ``Store`` that
has not touched anything yet. An address that is none raises UsageError.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from bucketline.errors import UsageError
from bucketline.store.base import Store
from bucketline.store.folder import FolderStore
from bucketline.store.patience import Patience
from bucketline.store.s3_options import S3Options, read_s3_address

if TYPE_CHECKING:
    from bucketline.store.s3 import S3Store

__all__ = ["open_object", "open_store"]


def open_store(address: str) -> Store:
    """The store at an address; opening it reaches nothing, so it neither waits nor fails. Raises UsageError."""
    if not address.strip():
        raise UsageError("The store has no address; name a folder or s3://bucket/prefix.")
    if "://" not in address:
        return FolderStore(address)
    if address.startswith("s3://"):
        return _s3(read_s3_address(address))
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FolderStore(unquote(parts.path), address=address)
    raise UsageError(f"{parts.scheme}:// is no address of a store; name a folder or s3://bucket/prefix.")


def open_object(address: str) -> tuple[Store, str]:
    """The store and the key of one object, ``s3://bucket/some/key?options``. Raises UsageError."""
    options = read_s3_address(address)
    key = options.prefix.rstrip("/")
    if not address.startswith("s3://") or not key:
        raise UsageError(f"{options.address} names no object; write s3://bucket/key.")
    return _s3(replace(options, prefix="")), key


def _s3(options: S3Options) -> S3Store:
    from bucketline.store.s3 import S3Store  # a folder needs none of it

    return S3Store(options, patience=Patience() if options.patience_s is None else Patience(total_s=options.patience_s))
