"""Keys to paths and back, for ``folder``: reversible, and no key leads out of the folder.

Comes in: a key. Goes out: the names of folders and file below the root; and from a folder, the keys in it, in order.
Nearly every name stands for itself, so people can put files there by hand. A segment that a file system could not
hold (empty, ``.``, ``..``, with NUL, over 255 bytes) or that means something here is written as ``.%`` and its
percent-encoding; what is still too long goes on in folders named ``.%+``.

| key             | path                        |
| --------------- | --------------------------- |
| inbox/50% a+b   | inbox/50% a+b               |
| a//b            | a/.%/b                      |
| ../../etc       | .%../.%../etc               |
| inbox/          | inbox/.%                    |
| 300 times x     | .%+xxx… (200)/.%xxx… (100)  |
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from urllib.parse import quote, unquote

from bucketline.store.base import StoreError

__all__ = ["OURS", "folders", "names_of", "walk"]

OURS = ".bucketline"  #: the folder at the root that holds temporary files and metadata; never listed
_MARK = ".%"
_GOES_ON = ".%+"  # unambiguous: percent-encoding writes a plus as %2B
_MOST_BYTES = 255  # of one name, on every usual file system
_CHUNK = 200


def names_of(key: str) -> list[str]:
    """The names on the way to a key's file. Raises StoreError for a key that is no text."""
    if not key:
        raise StoreError("An object needs a name; the key is empty.")
    return [name for segment in key.split("/") for name in _names_of_segment(segment)]


def _names_of_segment(segment: str) -> list[str]:
    try:
        size = len(os.fsencode(segment))
    except UnicodeEncodeError:
        raise StoreError(f"The key segment {segment!r} is not valid unicode; rename the object.") from None
    plain = segment not in ("", ".", "..", OURS) and not segment.startswith(_MARK) and "\0" not in segment
    if plain and size <= _MOST_BYTES:
        return [segment]
    quoted = quote(os.fsencode(segment), safe="")
    chunks = [quoted[at : at + _CHUNK] for at in range(0, len(quoted), _CHUNK)] or [""]
    return [_GOES_ON + chunk for chunk in chunks[:-1]] + [_MARK + chunks[-1]]


def walk(root: str, prefix: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Key, path and stat of every file whose key begins with ``prefix``, in key order; what vanishes meanwhile is left
    out.
    """
    segments = prefix.split("/")[:-1]
    start = os.path.join(root, *(name for segment in segments for name in _names_of_segment(segment)))
    base = prefix[: prefix.rfind("/") + 1]
    try:
        above = {_identity(os.stat(start))}
    except OSError:
        return
    yield from _walk(start, base, prefix, above)


def folders(root: str, prefix: str) -> list[str]:
    """The names of the folders right under a prefix that hold any file, at whatever depth; in order."""
    start = os.path.join(root, *(name for segment in prefix.split("/")[:-1] for name in _names_of_segment(segment)))
    found = []
    for name, is_folder, path in _entries(start, ""):
        if is_folder and not (prefix == "" and name == OURS):
            key = f"{prefix}{name}/"
            if next(_walk(path, key, key, set()), None) is not None:
                found.append(name)
    return sorted(found)


def _walk(
    folder: str, base: str, prefix: str, above: set[tuple[int, int]]
) -> Iterator[tuple[str, str, os.stat_result]]:
    found = [(key + "/" if folders else key, folders, path) for key, folders, path in _entries(folder, base)]
    for key, is_folder, path in sorted(found):
        if not key.startswith(prefix) or (not base and key == OURS + "/" and os.path.basename(path) == OURS):
            continue
        try:
            status = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield key, path, status
        elif is_folder and _identity(status) not in above:  # a link to a folder above would never end
            yield from _walk(path, key, prefix, above | {_identity(status)})


def _entries(folder: str, base: str, begun: str = "") -> Iterator[tuple[str, bool, str]]:
    """What lies in a folder: key, whether it is a folder, path; names that go on are joined."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = entry.name
        if name.startswith(_GOES_ON):
            yield from _entries(entry.path, base, begun + name[len(_GOES_ON) :])
            continue
        if name.startswith(_MARK):
            name = unquote(begun + name[len(_MARK) :], errors="surrogateescape")
        yield base + name, entry.is_dir(), entry.path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
