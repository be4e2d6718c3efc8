"""What every stream's assembly needs: the result, texts that grow, and members taken with care.

Comes in: pieces of one reply's events, whatever they hold. Goes out: the parts of a ``Whole``. Called by the wires'
files beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Whole", "append", "index_of", "join", "objects", "present"]


@dataclass(frozen=True, slots=True)
class Whole:
    """What a stream came to. Neither document nor error: it broke off. ``begun`` tells whether any of it had come."""

    document: dict[str, Any] | None = None
    error: Any = None  #: a document with the error, as an unstreamed reply would hold it
    begun: bool = False


class _Pieces(list[str]):
    """A text while it still grows: thousands of small pieces, joined once at the end."""


def append(holder: dict[str, Any], name: str, piece: str) -> None:
    """Let a text of the holder grow."""
    pieces = holder.get(name)
    if type(pieces) is not _Pieces:
        pieces = holder[name] = _Pieces([pieces] if isinstance(pieces, str) else [])
    pieces.append(piece)


def join(holder: dict[str, Any]) -> dict[str, Any]:
    """The holder with its texts grown to their end."""
    for name, value in holder.items():
        if type(value) is _Pieces:
            holder[name] = "".join(value)
    return holder


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing of what is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def present(value: Any) -> dict[str, Any]:
    """The members of an object that are not null; none of what is no object."""
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else {}


def index_of(data: Mapping[str, Any], name: str = "index") -> int:
    """Which of several parts a piece belongs to; the first where it does not say."""
    index = data.get(name)
    return index if isinstance(index, int) else 0
