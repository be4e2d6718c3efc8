"""One simulated provider: every decision about a call, none of its sending.

In: an ``Arrival`` (path, headers, bytes). Out: a ``Visit`` that holds either a written refusal or a draft and what the
weather does to it; ``close`` is told how it ended and writes the books. ``server`` makes providers, ``delivery`` acts
on visits. The steps of ``visit`` are the order in which a real provider looks at a call: key, body, model, size,
money, weather, limits. The clock arrives as an argument.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from worker.simulator.account import NOBODY, Accounts
from worker.simulator.author import draft
from worker.simulator.bill import Tariff, nano_of
from worker.simulator.config import ANY_MODEL, ModelConfig, ProviderConfig, changed
from worker.simulator.dice import Dice, identity_of, key_of
from worker.simulator.faults import BILL, Bill, Fault, Forecast, forecast
from worker.simulator.limits import NS, Cost, Gate, Gauge, Refused
from worker.simulator.meter import Entry, Meter
from worker.simulator.phases import Phase, Timeline
from worker.simulator.talk import Ask, Draft, Invalid, Spent
from worker.simulator.wires.base import Refusal, Trouble, Wire, Written
from worker.simulator.wires.routes import Route

__all__ = ["Arrival", "Provider", "Visit"]

_TAG: Final = re.compile(rb"tag:([A-Za-z0-9]+)")
_ANSWER, _WEATHER = 0, 1  # faces of the dice
_CALM: Final = Forecast()
_UNKNOWN: Final = "-"  #: in the books: a model that is none of the provider's


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call as it came in. ``headers`` must not care for case."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    route: Route


@dataclass(slots=True)
class Visit:
    """One call from its arrival to the books."""

    number: int
    nth: int
    identity: bytes
    wire: Wire
    began_ns: int
    tag: str = ""
    account: str = NOBODY
    model: str = _UNKNOWN
    ask: Ask | None = None
    draft: Draft | None = None
    forecast: Forecast = _CALM
    refusal: Written | None = None
    trouble: str = ""  #: the books' word for the refusal
    gates: tuple[Gate, ...] = ()
    cost: Cost = field(default_factory=Cost)
    closed: bool = False

    @property
    def serial(self) -> str:
        """The request in 24 hex digits: the same every time it comes."""
        return self.identity.hex()[:24]


class _Refuse(Exception):
    """Ends the look at a call."""

    def __init__(self, refusal: Refusal, word: str) -> None:
        super().__init__(word)
        self.refusal, self.word = refusal, word


class Provider:
    """Decides, counts and bills. Not for several threads."""

    def __init__(
        self, name: str, config: ProviderConfig, seed: int, *, remember: int, record: bool, clock_ns: Callable[[], int]
    ) -> None:
        self.name, self.config = name, config
        self._clock_ns = clock_ns
        self._start_ns = clock_ns()
        self._answer_key, self._weather_key = key_of(seed), key_of(seed, name)
        self._tariffs = {m: Tariff(c.prices) for m, c in config.models.items() if c.prices is not None}
        self._timeline = Timeline(config.phases, self._start_ns)
        self.weather = config.weather
        self.accounts = Accounts(config, self._start_ns)
        self.meter = Meter(remember, record=record)
        self.calls = 0

    def visit(self, arrival: Arrival) -> Visit:
        """Looks at a call; a visit without a refusal has entered its gates and must be closed."""
        self.calls += 1
        identity = identity_of(self._answer_key, arrival.path, arrival.body)
        tag = _TAG.search(arrival.body)
        visit = Visit(
            self.calls, self.meter.nth(identity), identity, arrival.route.wire, self._clock_ns(),
            tag[1].decode() if tag else "",
        )  # fmt: skip
        try:
            self._look(visit, arrival)
        except _Refuse as refused:
            visit.refusal, visit.trouble = visit.wire.refuse(refused.refusal), refused.word
        return visit

    def _look(self, visit: Visit, arrival: Arrival) -> None:
        account = self.accounts.name(arrival.headers, arrival.query)
        if account is None:
            raise self._refuse(visit, Trouble.UNAUTHORISED)
        visit.account = account
        body, ask = self._read(visit, arrival)
        model = self._model(visit, ask.model, body)
        answer_dice = Dice(self._answer_key, visit.identity, 0, _ANSWER)
        visit.ask, visit.draft = ask, draft(ask, model, answer_dice, visit.serial, visit.tag)
        spent = visit.draft.spent
        if model.context_tokens is not None and spent.input_tokens > model.context_tokens:
            raise self._refuse(visit, Trouble.CONTEXT)
        if self._timeline.exhausted(visit.began_ns, self.calls) or not self.accounts.has_money(account):
            raise self._refuse(visit, Trouble.MONEY)
        weather = self._timeline.weather(self.weather, visit.began_ns, self.calls)
        dice = Dice(self._weather_key, visit.identity, visit.nth, _WEATHER)
        visit.forecast = forecast(weather, dice, spent.output_tokens)
        if visit.forecast.fault is Fault.LIMITED:
            raise self._refuse(visit, Trouble.LIMITED, retry_after_s=visit.forecast.retry_after_s, word="limited")
        declared = (ask.max_tokens or spent.output_tokens) * ask.n
        visit.cost = Cost(spent.input_tokens, spent.output_tokens, declared)
        self._enter(visit, self.accounts.gates(account, visit.model, model.limits))

    def _read(self, visit: Visit, arrival: Arrival) -> tuple[dict[str, Any], Ask]:
        missing = visit.wire.missing_header(arrival.headers)
        if missing is not None:
            raise self._refuse(visit, Trouble.INVALID, message=missing)
        try:
            body = orjson.loads(arrival.body)
            if not isinstance(body, dict):
                raise Invalid("The body must be a JSON object.")
            return body, visit.wire.read(body, arrival.route.model)
        except Invalid as invalid:
            raise self._refuse(visit, Trouble.INVALID, message=str(invalid), param=invalid.param) from None
        except (ValueError, TypeError, AttributeError, LookupError):
            # A field of the wrong kind, wherever it lies: real providers have a sentence for each, we have one.
            message = "We could not parse the JSON body of your request."
            raise self._refuse(visit, Trouble.INVALID, message=message) from None

    def _model(self, visit: Visit, name: str, body: Mapping[str, Any]) -> ModelConfig:
        model = self.config.models.get(name) or self.config.models.get(ANY_MODEL)
        if model is None:
            raise self._refuse(visit, Trouble.MODEL, model=name)
        visit.model = name if name in self.config.models else ANY_MODEL
        for parameter in model.refuses:
            if parameter in body:
                message = f"Unsupported parameter: '{parameter}' is not supported with this model."
                raise self._refuse(visit, Trouble.INVALID, message=message, param=parameter)
        return model

    def _enter(self, visit: Visit, gates: tuple[Gate, ...]) -> None:
        worst: Refused | None = None
        for gate in gates:
            refused = gate.refusal(visit.began_ns, visit.cost)
            if refused is not None and (worst is None or (refused.wait_ns or 0) > (worst.wait_ns or 0)):
                worst = refused
        if worst is not None:
            wait_s = None if worst.wait_ns is None else worst.wait_ns / NS
            word = f"limit:{worst.scope.value}"
            raise self._refuse(visit, Trouble.LIMITED, refused=worst, retry_after_s=wait_s, word=word)
        for gate in gates:
            gate.enter(visit.began_ns, visit.cost)
        visit.gates = gates

    def refusal(self, visit: Visit, trouble: Trouble, **details: Any) -> Refusal:
        """A refusal with this visit's name and number on it."""
        details = {"model": visit.ask.model if visit.ask else "", "style": self.config.retry_after} | details
        return Refusal(trouble, serial=f"{visit.serial}{visit.nth}", now_s=self.wall_s(), **details)

    def _refuse(self, visit: Visit, trouble: Trouble, *, word: str = "", **details: Any) -> _Refuse:
        return _Refuse(self.refusal(visit, trouble, **details), word or trouble.value)

    @staticmethod
    def wall_s() -> float:
        """The wall clock, for headers that name a time."""
        return time.time()

    def gauges(self, visit: Visit) -> list[Gauge]:
        """The state of the limits after this call, the model's own last."""
        now_ns = self._clock_ns()
        return [gauge for gate in visit.gates for gauge in gate.gauges(now_ns)]

    def close(self, visit: Visit, status: int, fault: str, *, delivered: bool = False, left: bool = False) -> None:
        """The call is over, however; the books take it once. ``left``: the client did not wait for it."""
        if visit.closed:
            return
        visit.closed = True
        now_ns = self._clock_ns()
        for gate in visit.gates:
            gate.leave(now_ns, visit.cost)
        bill = Bill.NOTHING if visit.refusal is not None else _bill(visit.forecast.fault)
        spent = _spent(visit.draft, bill)
        tariff = self._tariffs.get(visit.model)
        nanousd = tariff.nanousd(spent) if tariff is not None else (None if spent.input_tokens else 0)
        if bill is Bill.NOTHING:
            nanousd = 0
        self.accounts.spend(visit.account, nanousd or 0)
        entry = Entry(
            number=visit.number, model=visit.model, account=visit.account, endpoint=visit.wire.endpoint,
            status=status, fault="left" if left else fault, identity=visit.identity[:8].hex(), nth=visit.nth,
            tag=visit.tag, began_s=(visit.began_ns - self._start_ns) / NS, ended_s=(now_ns - self._start_ns) / NS,
            spent=spent, nanousd=nanousd, delivered=delivered,
        )  # fmt: skip
        self.meter.enter(entry, visit.identity)

    def change(self, changes: Mapping[str, Any]) -> None:
        """What ``POST /__admin`` may change: weather, limits, phases, recording, a top-up. Raises ConfigError."""
        if "weather" in changes:
            self.weather = changed(self.weather, changes["weather"], f"{self.name}.weather")
        if "limits" in changes:
            self.config = changed(self.config, {"limits": changes["limits"]}, self.name)
            self.accounts.change_limits(self.config.limits)
        if "phases" in changes:
            phases: tuple[Phase, ...] = changed(self.config, {"phases": changes["phases"]}, self.name).phases
            self._timeline = Timeline(phases, self._clock_ns())
        if "top_up_usd" in changes:
            self.accounts.top_up(nano_of(str(changes["top_up_usd"])))
            self._timeline.top_up()
        if "record_calls" in changes:
            self.meter.record = bool(changes["record_calls"])
        if changes.get("reset_books"):
            self.meter.reset()

    def report(self, *, calls: bool) -> dict[str, Any]:
        """This provider's part of the books."""
        report = self.meter.report() | self.accounts.report()
        return report | ({"call_list": self.meter.call_list()} if calls else {})


def _bill(fault: Fault | None) -> Bill:
    return Bill.ALL if fault is None else BILL[fault]


def _spent(made: Draft | None, bill: Bill) -> Spent:
    if made is None or bill is Bill.NOTHING:
        return Spent()
    spent = made.spent
    if bill is Bill.ALL:
        return spent
    return Spent(spent.input_tokens, spent.cached_tokens, spent.cache_write_tokens)
