"""Whether a line can be said on any route of its plan.

Comes in: a line and its plan. Goes out: nothing, or the sentence that names what no route can express. The adapters
know; this only asks them. Called while an input is scanned, so that such a line ends before money is spent on others
that depend on it; where some routes can, the line is sent, and the others are passed over on the way. No I/O.
"""

from __future__ import annotations

from bucketline.catalog import Plan
from bucketline.request import Request
from worker.providers import adapter_for
from worker.providers.wire import stops

__all__ = ["why_refused"]

_MOST_CHARS = 400  #: of names: a line may ask for hundreds of things


def why_refused(request: Request, plan: Plan) -> str | None:
    """Why the line can go out on no route of the plan; None where it can on one. Names parameters, never values."""
    told: dict[str, str] = {}
    for route in plan.routes:
        names = adapter_for(route.provider.wire).refused(request, route)
        if not stops(names, route):
            return None
        told[route.name] = ", ".join(dict.fromkeys(names))
    listed = "; ".join(f"{route} cannot express {names[:_MOST_CHARS]}" for route, names in told.items())
    return f"{listed[: 2 * _MOST_CHARS]}. Leave it out of the line, or set drop = true on a route."
