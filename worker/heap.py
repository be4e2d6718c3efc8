"""The heap of a process that lives long: when cycles are looked for, and when freed memory goes back to the system.

Called once, before a worker's loop starts. Changes how much memory the process holds and how often it is gone through, nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

__all__ = ["settle_heap"]

#: The line makes few cycles and many short-lived objects: looking for cycles less often saves several percent of a worker's
#: time, and the memory that waits for it is bounded by the lines that are open.
_CYCLES = (50_000, 20, 50)
#: glibc's mallopt(3). A block of this size or more is mapped by itself, and unmapped when freed. Left alone, the threshold grows
#: with the first large block that is freed (a part, a range of the input), those then come from the heap and leave holes
#: in it: a worker that had sent 100,000 lines held 16 MB more than one that had sent 10,000.
_M_MMAP_THRESHOLD, _MAPPED_BYTES = -3, 128 * 1024


def settle_heap() -> None:
    """Never raises; where the C library has no such knob, the heap stays as it is."""
    gc.set_threshold(*_CYCLES)
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
