"""Tokens and money before anything is sent.

Comes in: an input and the configuration, and a store whose earlier batches teach better figures. Goes out: an
``Estimate``: for each model that lines ask for, each of its routes and each model to compare with, tokens and cost as
low, likely and high. The input streams past once; every line is priced at the step of its own length. Nothing is sent,
written or reserved. Called by ``bucketline estimate``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bucketline.catalog import Catalog, Route
from bucketline.errors import ConfigError
from bucketline.jsonl import records
from bucketline.money import round_femto, usd
from bucketline.price_package import context_tokens
from bucketline.prices import PriceBook
from bucketline.rates import Price, Step
from bucketline.request import Request, read_request
from bucketline.settings import Settings
from bucketline.store import Store, open_store
from bucketline.usage import Usage
from producer.learn import Learnt, learn
from producer.source import Source, open_source
from producer.weigh import Reading, Weight, weigh

__all__ = ["Estimate", "Range", "RouteEstimate", "estimate"]

_SHAPES = 100_000  #: different weights kept while an input passes; beyond, they are rounded to tell fewer apart


@dataclass(frozen=True, slots=True)
class Range:
    """Low, likely and high of one figure."""

    low: float = 0
    likely: float = 0
    high: float = 0

    def whole(self) -> dict[str, int]:
        return {"low": round(self.low), "likely": round(self.likely), "high": round(self.high)}


@dataclass(frozen=True, slots=True)
class RouteEstimate:
    """What one model's lines would take on one route; ``nanousd`` is None where the price is unknown."""

    route: Route
    planned: bool  #: a route of the model asked for, not one only to compare with
    input_tokens: Range
    output_tokens: Range
    nanousd: Range | None
    price: Price | None
    context: int | None
    too_long: int  #: lines that likely do not fit the context
    learnt: Learnt | None

    def document(self) -> dict[str, Any]:
        first: Step | None = self.price.steps[0] if self.price else None
        cost = self.nanousd
        return {
            "route": self.route.name,
            "provider": self.route.provider.name,
            "model": self.route.model,
            "planned": self.planned,
            "input_tokens": self.input_tokens.whole(),
            "output_tokens": self.output_tokens.whole(),
            "usd": None if cost is None else {name: usd(nano) for name, nano in cost.whole().items()},
            "unit_prices": dict(first.unit_prices) if first else {},
            "price_source": first.source if first else None,
            "context_tokens": self.context,
            "too_long": self.too_long,
            "latency_p50_s": self.learnt.reading.latency_s if self.learnt else None,
            "success_rate": self.learnt.success_rate if self.learnt else None,
            "learned_from": list(self.learnt.batches) if self.learnt else [],
        }


@dataclass(slots=True)
class Estimate:
    """The whole: ``models`` maps each model that lines ask for to its routes, in the order of its plan."""

    source: str
    lines: int = 0
    rejected: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    models: dict[str, list[RouteEstimate]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)  #: model → why it has no route

    def document(self) -> dict[str, Any]:
        """What ``estimate --json`` prints; ``usd`` is what the first route of every model would cost together."""
        firsts = [routes[0].nanousd for routes in self.models.values() if routes]
        known = [cost for cost in firsts if cost is not None]
        total = {name: sum(cost.whole()[name] for cost in known) for name in ("low", "likely", "high")}
        complete = len(known) == len(firsts) and not self.faults
        return {
            "source": self.source,
            "lines": self.lines,
            "rejected": self.rejected,
            "usd": {name: usd(nano) for name, nano in total.items()},
            "complete": complete,
            "models": [
                {"model": model, "requests": self.requests[model], "routes": [route.document() for route in routes]}
                for model, routes in self.models.items()
            ],
            "unknown_models": self.faults,
        }


async def estimate(
    source: Source,
    settings: Settings,
    *,
    store: Store | None,
    when_s: float,
    model: str | None = None,
    against: Iterable[str] = (),
) -> Estimate:
    """Estimate an input; ``model`` is for lines that name none, ``against`` are models to compare with.

    Raises InputError when the input cannot be read, ConfigError when a model to compare with has no plan.
    """
    catalog, book = Catalog(settings), PriceBook(settings)
    others = [route for name in dict.fromkeys(against) for route in catalog.plan(name).routes]
    weights: dict[str, dict[Weight, int]] = {}
    async with open_source(source, store or open_store(".")) as stream:
        result = Estimate(stream.name)
        async for record in records(stream.blocks):
            result.lines += 1
            request = read_request(record.raw, record.line, model)
            if isinstance(request, Request):
                shapes = weights.setdefault(request.model, {})
                weight = weigh(request) if len(shapes) < _SHAPES else _rounded(weigh(request))
                shapes[weight] = shapes.get(weight, 0) + 1
            else:
                result.rejected += 1
    plans: dict[str, list[tuple[Route, bool]]] = {}
    for name, shapes in weights.items():
        result.requests[name] = sum(shapes.values())
        try:
            own = catalog.plan(name).routes
        except ConfigError as error:
            result.faults[name] = str(error)
            continue
        names = {route.name for route in own}
        plans[name] = [(route, True) for route in own] + [(one, False) for one in others if one.name not in names]
    known = {route.name for routes in plans.values() for route, _ in routes}
    learnt = await learn(store, known) if store is not None else {}
    for name, routes in plans.items():
        result.models[name] = [
            _on_route(route, planned, weights[name], book, learnt.get(route.name), when_s) for route, planned in routes
        ]
    return result


def _on_route(
    route: Route, planned: bool, shapes: dict[Weight, int], book: PriceBook, learnt: Learnt | None, when_s: float
) -> RouteEstimate:
    reading = learnt.reading if learnt else Reading()
    price = book.price(route, when_s)
    context = route.context_tokens or context_tokens(route.provider.price_as, route.model)
    tokens_in, too_long = 0.0, 0
    out = [0.0, 0.0, 0.0]
    femto: list[int] | None = [0, 0, 0] if price else None
    for weight, count in shapes.items():
        one_in = reading.input_tokens(weight)
        tokens_in += one_in * count
        if context is not None and one_in > context:
            too_long += count
        for position, one_out in enumerate(reading.output_tokens(weight)):
            out[position] += one_out * count
            if femto is None or price is None:
                continue
            factor = 1 + (position - 1) * reading.spread
            call = Usage(input_tokens=round(one_in * factor), output_tokens=round(one_out))
            cost = price.step(call.input_tokens).rates.femto(call)
            if cost is None:
                femto = None
            else:
                femto[position] += cost * count
    return RouteEstimate(
        route=route,
        planned=planned,
        input_tokens=Range(tokens_in * (1 - reading.spread), tokens_in, tokens_in * (1 + reading.spread)),
        output_tokens=Range(*out),
        nanousd=None if femto is None else Range(*map(round_femto, femto)),
        price=price,
        context=context,
        too_long=too_long,
        learnt=learnt,
    )


def _rounded(weight: Weight) -> Weight:
    """The weight with its text in steps of 64 bytes, so that no input makes more shapes than there is room for."""
    return Weight(
        weight.text_bytes // 64 * 64 + 32, weight.turns, weight.media, weight.choices, weight.cap_tokens, weight.answers
    )
