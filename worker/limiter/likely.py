"""What a request will likely use, by what others of its model used.

Comes in: a request with its route, later the usage that the provider reported. Goes out: a ``Demand``. Input is the
body's bytes over the bytes that one token of the model turned out to take; output is the 95th percentile of the answers
so far, never more than the request's own cap. Pure: ``learning`` shares what is learnt through Redis. Called by
``dispatch``.
"""

from __future__ import annotations

import math
from typing import Any

from bucketline.catalog import Route
from bucketline.declared import declared_cap_tokens, declared_choices
from bucketline.learnt import Learnt
from bucketline.request import Form, Request
from bucketline.usage import Usage
from worker.limiter.gate import Demand

__all__ = ["Likely"]

_OUTPUT_TOKENS = 512  #: an answer, before anything is known
_UNKNOWN_CAP = 2048  #: a declared cap counts so much at most, before anything is known
_NO_OUTPUT = frozenset({Form.EMBEDDINGS, Form.EMBED})


class Likely:
    """All models that this process has sent to. ``asked_for`` are those that were looked up since it was last emptied."""

    def __init__(self) -> None:
        self.models: dict[str, Learnt] = {}
        self.asked_for: set[str] = set()

    def demand(self, request: Request, route: Route) -> Demand:
        """What the request will likely use on this route."""
        model = self.model(route)
        return Demand(
            math.ceil(len(request.body) / model.bytes_a_token), _output_tokens(request, route, model.output_p95)
        )

    def learn(self, request: Request, route: Route, usage: Usage) -> None:
        """Take what a call turned out to use."""
        self.model(route).learn(len(request.body), usage)

    def model(self, route: Route) -> Learnt:
        name = route.name
        self.asked_for.add(name)
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = Learnt()
        return model


def _output_tokens(request: Request, route: Route, p95: int | None) -> int:
    if request.form in _NO_OUTPUT:
        return 0
    params: dict[str, Any] = {**request.params, **route.set} if route.set else request.params
    cap = declared_cap_tokens(params)
    answers = declared_choices(params)
    if p95 is not None:
        return answers * (p95 if cap is None else min(cap, p95))
    return answers * (_OUTPUT_TOKENS if cap is None else min(cap, _UNKNOWN_CAP))
