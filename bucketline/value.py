"""Values of the hot path: frozen for the type checker, cheap at run time.

A frozen dataclass assigns each field through ``object.__setattr__``, which costs six times what a plain assignment does;
a line on its way makes a hundred such fields. ``@value`` makes the same slotted, comparable, hashable class without
that guard: the checker refuses an assignment all the same. Everything that is made less than once a line stays a frozen
dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

__all__ = ["value"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """``dataclass(frozen=True, slots=True)`` in all but the guard."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
