"""What a request will likely use, learnt from what others of its model used.

Comes in: a request with its route, later the usage that the provider reported. Goes out: a ``Demand``. Input is the
body's bytes over the bytes that one token of the model turned out to take; output is the 95th percentile of the answers
so far, never more than the request's own cap. Pure: ``learning`` shares what is learnt through Redis. Called by
``dispatch`` and, for the error of the estimates, by ``status``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bucketline.catalog import Route
from bucketline.request import Form, Request, declared_cap_tokens
from bucketline.usage import Usage
from worker.limiter.gate import Demand

__all__ = ["Likely", "Model"]

_BYTES_A_TOKEN = 4.0  #: English text with the JSON around it, before anything is known
_OUTPUT_TOKENS = 512  #: an answer, before anything is known
_UNKNOWN_CAP = 2048  #: a declared cap counts so much at most, before anything is known
_ENOUGH = 8  #: answers before the percentile is believed
_MEMORY = 1024  #: answers after which the old ones count half
_REFRESH = 16  #: answers between two looks at the percentile
_LOG_GROWTH = math.log(1.1)  #: a bucket of the output counts is a tenth wider than the one before
_NO_OUTPUT = frozenset({Form.EMBEDDINGS, Form.EMBED})


@dataclass(slots=True)
class Model:
    """What is known about one ``provider/model``."""

    input_bytes: float = 0.0
    input_tokens: float = 0.0
    off_tokens: float = 0.0  #: sum of |estimate - fact| of the input
    outputs: dict[int, float] = field(default_factory=dict)  #: bucket → answers
    answers: float = 0.0
    fresh: dict[str, int] = field(default_factory=dict)  #: learnt here since ``learning`` last told the others
    _p95: int | None = None
    _stale: int = 0

    @property
    def bytes_a_token(self) -> float:
        return self.input_bytes / self.input_tokens if self.input_tokens > 0 else _BYTES_A_TOKEN

    @property
    def error(self) -> float | None:
        """Mean error of the input estimate as a share of the fact; None before the first answer."""
        return self.off_tokens / self.input_tokens if self.input_tokens > 0 else None

    @property
    def output_p95(self) -> int | None:
        """Output tokens that 95 of 100 answers do not exceed; None while too little is known."""
        if self._p95 is None and self.answers >= _ENOUGH:
            self._p95 = self._quantile(0.95)
        return self._p95

    def learn(self, body_bytes: int, usage: Usage) -> None:
        """Take what one call used."""
        facts: dict[str, int] = {}
        if usage.input_tokens > 0:
            off = abs(math.ceil(body_bytes / self.bytes_a_token) - usage.input_tokens)
            facts = {"bytes": body_bytes, "tokens": usage.input_tokens, "off": off}
        bucket = math.ceil(math.log(usage.output_tokens) / _LOG_GROWTH) if usage.output_tokens > 0 else -1
        facts[f"o{bucket}"] = 1
        for name, value in facts.items():
            self.fresh[name] = self.fresh.get(name, 0) + value
        known, self._stale = self._p95, self._stale + 1
        self.add(facts)
        if known is not None and self._stale < _REFRESH:
            self._p95 = known
        else:
            self._stale = 0

    def add(self, document: Mapping[str, float]) -> None:
        """Take in what was learnt elsewhere: sums by name; those of two models add up to those of both."""
        for name, value in document.items():
            if name == "bytes":
                self.input_bytes += value
            elif name == "tokens":
                self.input_tokens += value
            elif name == "off":
                self.off_tokens += value
            elif name.startswith("o"):
                bucket = int(name[1:])
                self.outputs[bucket] = self.outputs.get(bucket, 0.0) + value
                self.answers += value
        self._p95 = None
        while self.answers > _MEMORY:
            self._fade()

    def _fade(self) -> None:
        self.input_bytes /= 2
        self.input_tokens /= 2
        self.off_tokens /= 2
        self.answers = 0.0
        for bucket, count in list(self.outputs.items()):
            if count < 0.1:
                del self.outputs[bucket]
            else:
                self.outputs[bucket] = count / 2
                self.answers += count / 2

    def _quantile(self, share: float) -> int:
        rank, seen = share * self.answers, 0.0
        for bucket in sorted(self.outputs):
            seen += self.outputs[bucket]
            if seen >= rank - 1e-9:
                return 0 if bucket < 0 else math.ceil(math.exp(bucket * _LOG_GROWTH))
        return 0


class Likely:
    """All models that this process has sent to."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}

    def demand(self, request: Request, route: Route) -> Demand:
        """What the request will likely use on this route."""
        model = self.model(route)
        return Demand(
            math.ceil(len(request.body) / model.bytes_a_token), _output_tokens(request, route, model.output_p95)
        )

    def learn(self, request: Request, route: Route, usage: Usage) -> None:
        """Take what a call turned out to use."""
        self.model(route).learn(len(request.body), usage)

    def model(self, route: Route) -> Model:
        name = route.name
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = Model()
        return model


def _output_tokens(request: Request, route: Route, p95: int | None) -> int:
    if request.form in _NO_OUTPUT:
        return 0
    params: dict[str, Any] = {**request.params, **route.set} if route.set else request.params
    cap = declared_cap_tokens(params)
    choices = params.get("n")
    answers = choices if isinstance(choices, int) and choices > 1 else 1
    if p95 is not None:
        return answers * (p95 if cap is None else min(cap, p95))
    return answers * (_OUTPUT_TOKENS if cap is None else min(cap, _UNKNOWN_CAP))
