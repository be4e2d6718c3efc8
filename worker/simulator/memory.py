"""How many times a thing was seen, for the youngest things only.

Two generations of a dictionary: when the young one is full it becomes the old one and the old one is dropped, so that
memory is bounded and every step costs the same. ``meter`` keeps one for requests seen and one for answers paid for.
"""

from __future__ import annotations

__all__ = ["Memory"]


class Memory:
    """Counts of at least the ``youngest`` keys used last, at most twice as many."""

    __slots__ = ("_old", "_young", "_youngest")

    def __init__(self, youngest: int) -> None:
        self._youngest = max(1, youngest)
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def seen(self, key: bytes) -> int:
        """How many times the key was seen before; counts this time."""
        before = self._young.get(key)
        if before is None:
            before = self._old.pop(key, 0)
            if len(self._young) >= self._youngest:
                self._old, self._young = self._young, {}
        self._young[key] = before + 1
        return before
