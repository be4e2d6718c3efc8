"""Which inbox objects are uploads, what they are called, and when they are whole. Pure.

Comes in: keys, and what each listing shows. Goes out: the names of the bucket door, and the objects that have been still
for long enough. Called by ``inbox``.
"""

from __future__ import annotations

from collections.abc import Iterable

from bucketline.layout import INBOX
from bucketline.store import Stat

__all__ = ["Stillness", "full_name_of", "is_upload", "name_of", "options_key", "profile_of"]

_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_LONG_STILL_S = 60.0  #: past any difference between two clocks


def is_upload(key: str) -> bool:
    """Whether an object is meant as a batch.

    Unfinished uploads are not: their tools put a suffix behind the name (``x.jsonl.part``), or a dot, an underscore or
    a tilde before it. Folder markers end in ``/``.
    """
    if not key.startswith(INBOX) or not key.lower().endswith(_SUFFIXES):
        return False
    steps = key[len(INBOX) :].split("/")
    return not any(step.startswith((".", "_", "~")) for step in steps) and bool(name_of(key).rsplit("/", 1)[-1])


def name_of(key: str) -> str:
    """``inbox/a/b.jsonl.gz`` → ``a/b``."""
    name = full_name_of(key)
    lower = name.lower()
    return next((name[: -len(suffix)] for suffix in _SUFFIXES if lower.endswith(suffix)), name)


def full_name_of(key: str) -> str:
    """``inbox/a/b.jsonl.gz`` → ``a/b.jsonl.gz``."""
    return key.removeprefix(INBOX)


def options_key(key: str) -> str:
    """``inbox/a/b.jsonl.gz`` → ``inbox/a/b.options.toml``."""
    return f"{INBOX}{name_of(key)}.options.toml"


def profile_of(key: str) -> str | None:
    """``inbox/nightly/x.jsonl`` → ``nightly``; None right under ``inbox/``."""
    first, slash, _ = full_name_of(key).partition("/")
    return first if slash else None


class Stillness:
    """Tells objects that are whole from those that still grow or are being replaced.

    Most stores show an object only when it is whole; in a folder a file grows in sight. Size and ETag must stay for
    ``settle_s`` of our own clock, or the object is a minute old by both clocks.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._since: dict[str, tuple[str, int, float]] = {}
        self.due_s: float | None = None  #: when (of ``now_s``) the next object may be whole

    def look(self, stats: Iterable[Stat], now_s: float, unix_s: float) -> list[Stat]:
        """One listing of what is not taken yet; the objects in it that are whole."""
        whole: list[Stat] = []
        seen: dict[str, tuple[str, int, float]] = {}
        self.due_s = None
        for stat in stats:
            etag, size_bytes, since_s = self._since.get(stat.key, ("", -1, now_s))
            if (etag, size_bytes) != (stat.etag, stat.size_bytes):
                since_s = now_s
            seen[stat.key] = (stat.etag, stat.size_bytes, since_s)
            if now_s - since_s >= self._settle_s or unix_s - stat.modified_s >= self._settle_s + _LONG_STILL_S:
                whole.append(stat)
            else:
                due_s = since_s + self._settle_s
                self.due_s = due_s if self.due_s is None else min(due_s, self.due_s)
        self._since = seen
        return whole
