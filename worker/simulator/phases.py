"""A script of bad days: from when, for how long, which weather instead of the usual one.

In: the phases of a provider, the time and the number of calls so far. Out: the weather of this moment, and whether
the account is out of money. ``provider`` holds one timeline. A phase that begins after so many calls begins when
that call arrives; everything else follows from the clock that is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import with_config

from worker.simulator.faults import Fault, Weather

__all__ = ["Phase", "PhaseKind", "Timeline"]

_NS: Final = 1_000_000_000


class PhaseKind(StrEnum):
    """What a phase does; ``share`` is the share of calls it concerns."""

    DEAD = "dead"  #: every connection is closed without a word
    SLOW = "slow"  #: every answer takes ``factor`` times as long
    LIMITING = "limiting"  #: 429 with Retry-After
    RUBBISH = "rubbish"  #: broken JSON, a proxy's page, an error under 200, no choices: a quarter each
    RECOVERING = "recovering"  #: 503 for a share that falls to nothing by the end of the phase
    EXHAUSTED = "exhausted"  #: the account has no money, until it is topped up or the phase ends
    WEATHER = "weather"  #: the phase's own ``weather``


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class Phase:
    """Begins ``from_s`` after the start or with call number ``after_calls`` + 1; without ``for_s`` it does not end."""

    kind: PhaseKind
    from_s: float | None = None
    after_calls: int | None = None
    for_s: float | None = None
    share: float = 1.0
    factor: float = 10.0
    weather: Weather | None = None

    def __post_init__(self) -> None:
        if (self.from_s is None) == (self.after_calls is None):
            raise ValueError("A phase begins either from_s or after_calls.")
        if (self.weather is None) == (self.kind is PhaseKind.WEATHER):
            raise ValueError("A phase of kind 'weather', and no other, has a weather.")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError("A phase's share lies between 0 and 1.")
        if self.kind is PhaseKind.RECOVERING and self.for_s is None:
            raise ValueError("A phase of kind 'recovering' needs for_s, its end.")


class Timeline:
    """The phases of one provider, the first that is on winning."""

    __slots__ = ("_began_ns", "_over", "_phases", "_start_ns")

    def __init__(self, phases: Sequence[Phase], start_ns: int) -> None:
        self._phases = tuple(phases)
        self._start_ns = start_ns
        self._began_ns: dict[int, int] = {}
        self._over: set[int] = set()

    def weather(self, usual: Weather, now_ns: int, calls: int) -> Weather:
        """The weather now; ``calls`` counts the arrivals so far, this one included."""
        if not self._phases:
            return usual
        for number, phase in enumerate(self._phases):
            age_s = self._age_s(number, phase, now_ns, calls)
            if age_s is not None and phase.kind is not PhaseKind.EXHAUSTED:
                return _changed(usual, phase, age_s)
        return usual

    def exhausted(self, now_ns: int, calls: int) -> bool:
        """Whether a phase says that the account has no money."""
        return any(
            phase.kind is PhaseKind.EXHAUSTED and self._age_s(number, phase, now_ns, calls) is not None
            for number, phase in enumerate(self._phases)
        )

    def top_up(self) -> None:
        """Ends the phases without money that have begun; later ones still come."""
        self._over.update(n for n in self._began_ns if self._phases[n].kind is PhaseKind.EXHAUSTED)

    def _age_s(self, number: int, phase: Phase, now_ns: int, calls: int) -> float | None:
        """How long the phase has been on; None if it is not."""
        if number in self._over:
            return None
        began_ns = self._began_ns.get(number)
        if began_ns is None:
            if phase.from_s is not None:
                began_ns = self._start_ns + round(phase.from_s * _NS)
            elif phase.after_calls is not None and calls > phase.after_calls:
                began_ns = now_ns
            if began_ns is None or began_ns > now_ns:
                return None
            self._began_ns[number] = began_ns
        age_s = (now_ns - began_ns) / _NS
        if phase.for_s is not None and age_s >= phase.for_s:
            self._over.add(number)
            return None
        return age_s


def _changed(usual: Weather, phase: Phase, age_s: float) -> Weather:
    if phase.weather is not None:
        return phase.weather
    if phase.kind is PhaseKind.SLOW:
        return usual.scaled(phase.factor)
    if phase.kind is PhaseKind.DEAD:
        return usual.with_rates({Fault.DROPPED: phase.share})
    if phase.kind is PhaseKind.LIMITING:
        return usual.with_rates({Fault.LIMITED: phase.share})
    if phase.kind is PhaseKind.RECOVERING:
        return usual.with_rates({Fault.ERROR_503: phase.share * (1.0 - age_s / (phase.for_s or 1.0))})
    quarter = phase.share / 4
    return usual.with_rates(dict.fromkeys((Fault.BROKEN, Fault.HTML, Fault.ERROR_200, Fault.EMPTY), quarter))
