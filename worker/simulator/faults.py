"""Seeded weather: how long an answer takes and what goes wrong with it.

In: a ``Weather`` (rates and times), the request's dice, the output tokens it will have. Out: a ``Forecast``. Pure: the
same dice in the same weather give the same forecast, whenever and in whatever order requests arrive. ``provider``
asks; ``delivery`` acts on it. What each fault does to the bill stands in ``BILL``, beside its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from pydantic import with_config

from worker.simulator.dice import Dice

__all__ = ["BILL", "Bill", "Fault", "Forecast", "Weather", "forecast"]


class Fault(StrEnum):
    """What the client meets instead of a plain answer."""

    LIMITED = "limited"  #: 429 with Retry-After, whatever the limits say
    ERROR_500 = "error_500"  #: server error
    ERROR_503 = "error_503"  #: unavailable
    OVERLOADED = "overloaded"  #: 529 on Anthropic's wire, a 503 in words of overload elsewhere
    DROPPED = "dropped"  #: the request is read and the connection closed; nothing was generated
    LOST = "lost"  #: the answer is generated, then the connection closed before its first byte
    CUT = "cut"  #: the connection is closed in the middle of the body
    BROKEN = "broken"  #: a whole HTTP answer whose body is half a JSON document
    ERROR_200 = "error_200"  #: an error body under status 200; in a stream, after the first pieces
    EMPTY = "empty"  #: an answer with no choice in it; its input is billed
    HTML = "html"  #: a proxy's page under 502
    SLOW = "slow"  #: a good answer, its first byte ``slow_s`` late
    HANG = "hang"  #: nothing comes for ``hang_s``, then the connection is closed
    STALE = "stale"  #: a good answer, then the idle connection is closed although keep-alive was promised


class Bill(StrEnum):
    """What is billed; a client that leaves while its answer is being made pays the same."""

    NOTHING = "nothing"
    INPUT = "input"
    ALL = "all"


#: What the account is charged for a call that met the fault. A plain answer is ``ALL``.
BILL: Final[Mapping[Fault, Bill]] = {
    Fault.LIMITED: Bill.NOTHING, Fault.ERROR_500: Bill.NOTHING, Fault.ERROR_503: Bill.NOTHING,
    Fault.OVERLOADED: Bill.NOTHING, Fault.DROPPED: Bill.NOTHING, Fault.ERROR_200: Bill.NOTHING,
    Fault.HTML: Bill.NOTHING, Fault.EMPTY: Bill.INPUT, Fault.LOST: Bill.ALL, Fault.CUT: Bill.ALL,
    Fault.BROKEN: Bill.ALL, Fault.SLOW: Bill.ALL, Fault.HANG: Bill.ALL, Fault.STALE: Bill.ALL,
}  # fmt: skip


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class Weather:
    """Times and rates. Latency is lognormal; a share ``tail`` of the calls has it multiplied by a Pareto number."""

    rates: Mapping[Fault, float] = field(default_factory=dict)  #: shares of all calls; together at most 1
    latency_s: float = 0.0  #: median
    sigma: float = 0.0  #: deviation of the latency's logarithm
    tail: float = 0.0
    tail_alpha: float = 1.5
    token_s: float = 0.0  #: added for each output token
    max_latency_s: float = 60.0
    slow_s: float = 10.0
    hang_s: float = 3600.0
    retry_after_min_s: float = 1.0  #: of the 429s that the weather brings
    retry_after_max_s: float = 3.0

    def __post_init__(self) -> None:
        if any(rate < 0 for rate in self.rates.values()) or sum(self.rates.values()) > 1.0 + 1e-9:
            raise ValueError("rates are shares of all calls: none below 0, together at most 1.")
        if self.tail_alpha <= 0:
            raise ValueError("tail_alpha must be above 0.")

    def scaled(self, factor: float) -> Weather:
        """The same weather with every answer ``factor`` times as slow."""
        return replace(
            self,
            latency_s=self.latency_s * factor,
            token_s=self.token_s * factor,
            max_latency_s=self.max_latency_s * factor,
        )

    def with_rates(self, rates: Mapping[Fault, float]) -> Weather:
        """The same times with other faults."""
        return replace(self, rates=rates)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will happen to one call."""

    latency_s: float = 0.0
    fault: Fault | None = None
    retry_after_s: float = 0.0  #: if the fault is ``LIMITED``
    cut_at: float = 0.5  #: where a cut or broken body ends, as a share of it


_CALM: Final = Forecast()
_FAULT, _LATENCY, _TAIL, _PARETO, _RETRY_AFTER, _CUT = range(6)  # places of the dice


def forecast(weather: Weather, dice: Dice, output_tokens: int) -> Forecast:
    """What these dice mean in this weather."""
    fault = _fault(weather.rates, dice.uniform(_FAULT))
    latency_s = _latency_s(weather, dice, output_tokens)
    if fault is None:
        return Forecast(latency_s) if latency_s else _CALM
    late_s = {Fault.SLOW: latency_s + weather.slow_s, Fault.HANG: weather.hang_s}
    return Forecast(
        late_s.get(fault, latency_s),
        fault,
        dice.between(_RETRY_AFTER, weather.retry_after_min_s, weather.retry_after_max_s),
        dice.between(_CUT, 0.05, 0.95),
    )


def _fault(rates: Mapping[Fault, float], number: float) -> Fault | None:
    """Shares laid end to end in the order of ``Fault``, so that the order of the table does not matter."""
    if not rates:
        return None
    for fault in Fault:
        number -= rates.get(fault, 0.0)
        if number < 0:
            return fault
    return None


def _latency_s(weather: Weather, dice: Dice, output_tokens: int) -> float:
    latency_s = weather.latency_s
    if latency_s and weather.sigma:
        latency_s = dice.lognormal(_LATENCY, latency_s, weather.sigma)
    if weather.tail and dice.uniform(_TAIL) < weather.tail:
        latency_s *= dice.pareto(_PARETO, weather.tail_alpha)
    return min(latency_s + weather.token_s * output_tokens, weather.max_latency_s)
