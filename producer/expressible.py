"""The one question that the way in asks of the line: can any route say this?

Comes in: nothing. Goes out: the function that answers it for a line and its plan. What a provider's wire can express is
known to the adapters, which are the worker's; all doors need the answer, the Python one too, before a batch exists. So
this file, and no other of the producer, imports one of the worker's, when it is asked and not before. Called by ``judge``.
"""

from __future__ import annotations

from collections.abc import Callable

from bucketline.catalog import Plan
from bucketline.request import Request

__all__ = ["Refusal", "refusal"]

#: the sentence why a line can go out on no route of its plan; None where it can
Refusal = Callable[[Request, Plan], str | None]


def refusal() -> Refusal:
    """The adapters' answer."""
    from worker.expressible import why_refused

    return why_refused
