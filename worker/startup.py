"""A command that starts and ends at once: what would only be read in, or looked through, for nothing is left.

Called by the command ``bucketline`` alone, around a verb; whoever imports the packages is not touched. Of a short
command's time, four fifths are imports: ``python -m bench.startup`` takes them apart.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

__all__ = ["UNREAD", "end_at_once", "start_at_once"]

#: What others import and we never call: redis-py's tokens of Entra ID, which bring the whole of ``cryptography``.
UNREAD = ("jwt",)
#: Containers made before a collection. Imports make a hundred thousand that all stay: with Python's own 700 to 2,000 they
#: are gone through again and again, a tenth of the start.
_CONTAINERS = 10_000


class _Unread(ModuleType):
    """Stands for a module until something of it is asked for. (importlib's LazyLoader reads it at the next import.)"""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def start_at_once() -> None:
    """Spare this process what no verb needs."""
    gc.set_threshold(_CONTAINERS)
    # pydantic looks for plugins in the metadata of every distribution installed; whoever has some names the variable.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in UNREAD:
        # Where it is not installed, whoever can do without it has to find that out.
        if name not in sys.modules and PathFinder.find_spec(name) is not None:
            sys.modules[name] = _Unread(name)


def end_at_once() -> None:
    """Spare the interpreter's end: it would go through every object there is for cycles, which the system frees anyway."""
    gc.freeze()
