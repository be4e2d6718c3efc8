"""Limits as a provider enforces them, over windows that slide, and the account of who pressed against them.

In: what each call costs, when it comes and when it is over. Out: let in or refused, by which limit and for how long,
the gauges that answers carry in their headers, and the peaks that the books report. ``provider`` keeps one gate for
each account and one for each model with limits of its own. Knows no wire and no clock.

Tokens are counted when the call arrives, and with what it will really use, which only a simulator can know
(``Counting.ACTUAL``); or with its declared ``max_tokens``, as OpenAI and Azure do (``DECLARED``); or the input at
arrival and the output when it is written, as Anthropic does (``END``). A refused call uses nothing up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import with_config

from worker.simulator.window import Window

__all__ = ["Cost", "Counting", "Gate", "Gauge", "Limits", "Refused", "Scope"]

NS: Final = 1_000_000_000  #: nanoseconds in a second


class Counting(StrEnum):
    """Which output tokens a call is charged with when it asks to be let in."""

    ACTUAL = "actual"
    DECLARED = "declared"
    END = "end"


class Scope(StrEnum):
    """The limit that a refusal names."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    REQUESTS_DAY = "requests_day"
    TOKENS_DAY = "tokens_day"
    CONCURRENCY = "concurrency"


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class Limits:
    """None is no such limit. The ``…pm`` are for each ``window_s``, a minute unless a test is in a hurry."""

    rpm: int | None = None
    tpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    concurrency: int | None = None
    window_s: float = 60.0
    day_s: float = 86_400.0
    counting: Counting = Counting.ACTUAL
    enforce: bool = True  #: False: measure the peaks and refuse nobody

    def __post_init__(self) -> None:
        if self.window_s <= 0 or self.day_s <= 0:
            raise ValueError("window_s and day_s must be above zero.")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call uses: tokens it really has, and the output tokens it declared at most."""

    input_tokens: int = 0
    output_tokens: int = 0
    declared_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a call was not let in; ``wait_ns`` is None where waiting has no known end."""

    scope: Scope
    limit: int
    used: int
    asked: int
    wait_ns: int | None
    too_large: bool = False  #: larger than the whole limit: no wait will help


@dataclass(frozen=True, slots=True)
class Gauge:
    """One limit's state for the headers; ``full_in_ns`` is the time until nothing of it is used."""

    scope: Scope
    limit: int
    remaining: int
    full_in_ns: int


class _Day:
    """Requests and tokens of one day; days are counted from the start of the simulator, back to back."""

    __slots__ = ("_block", "_day_ns", "_start_ns", "peak", "used")

    def __init__(self, day_ns: int, start_ns: int) -> None:
        self._day_ns, self._start_ns, self._block = day_ns, start_ns, 0
        self.used = self.peak = 0

    def slide(self, now_ns: int) -> int:
        block = (now_ns - self._start_ns) // self._day_ns
        if block != self._block:
            self._block, self.used = block, 0
        return self.used

    def add(self, now_ns: int, amount: int) -> None:
        self.used = self.slide(now_ns) + amount
        self.peak = max(self.peak, self.used)

    def wait_ns(self, now_ns: int, amount: int, limit: int) -> int | None:
        if amount > limit:
            return None
        return 0 if self.slide(now_ns) + amount <= limit else self.empty_in_ns(now_ns)

    def empty_in_ns(self, now_ns: int) -> int:
        return self._start_ns + (self._block + 1) * self._day_ns - now_ns if self.slide(now_ns) else 0


class _Meter:
    """One limit: its number, its window, and how often it refused."""

    __slots__ = ("limit", "log", "refused", "scope")

    def __init__(self, scope: Scope, limit: int, log: Window | _Day) -> None:
        self.scope, self.limit, self.log, self.refused = scope, limit, log, 0


class Gate:
    """All limits of one account, or of one model in it. A call enters all of them or none."""

    def __init__(self, limits: Limits, start_ns: int) -> None:
        self.in_flight = self.peak_in_flight = self.refused_in_flight = 0
        self._start_ns = start_ns
        self._meters: dict[Scope, _Meter] = {}
        self.limits = limits
        self.change(limits)

    def change(self, limits: Limits) -> None:
        """New numbers; what was let in stays counted where the length of the window stays the same."""
        old = self._meters if _lengths(limits) == _lengths(self.limits) else {}
        self.limits = limits
        self._meters = {scope: self._meter(scope, limit, old.get(scope)) for scope, limit in _limited(limits)}
        self.offered = Window(round(limits.window_s * NS))  # every arrival, let in or not

    def _meter(self, scope: Scope, limit: int, old: _Meter | None) -> _Meter:
        if old is not None:
            old.limit = limit
            return old
        if scope in {Scope.REQUESTS_DAY, Scope.TOKENS_DAY}:
            return _Meter(scope, limit, _Day(round(self.limits.day_s * NS), self._start_ns))
        return _Meter(scope, limit, Window(round(self.limits.window_s * NS)))

    def refusal(self, now_ns: int, cost: Cost) -> Refused | None:
        """The limit that stands in the way longest, or None; counts the arrival and the refusal."""
        if self._meters:
            self.offered.add(now_ns, 1)
        worst: Refused | None = None
        for meter in self._meters.values() if self.limits.enforce else ():
            asked = max(_at_arrival(meter.scope, cost, self.limits.counting), 1)
            wait_ns = meter.log.wait_ns(now_ns, asked, meter.limit)
            if wait_ns != 0 and (worst is None or _longer(wait_ns, worst.wait_ns)):
                worst = Refused(meter.scope, meter.limit, meter.log.used, asked, wait_ns, wait_ns is None)
        if worst is not None:
            self._meters[worst.scope].refused += 1
            return worst
        most = self.limits.concurrency
        if most is not None and self.in_flight >= most and self.limits.enforce:
            self.refused_in_flight += 1
            return Refused(Scope.CONCURRENCY, most, self.in_flight, 1, None)
        return None

    def enter(self, now_ns: int, cost: Cost) -> None:
        """Let the call in; every gate of it was asked first."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        for meter in self._meters.values():
            meter.log.add(now_ns, _at_arrival(meter.scope, cost, self.limits.counting))

    def leave(self, now_ns: int, cost: Cost) -> None:
        """The call is over, however it ended; ``cost`` is what it used."""
        self.in_flight -= 1
        if self.limits.counting is Counting.END:
            for meter in self._meters.values():
                if meter.scope in {Scope.TOKENS, Scope.OUTPUT_TOKENS, Scope.TOKENS_DAY}:
                    meter.log.add(now_ns, cost.output_tokens)

    def gauges(self, now_ns: int) -> list[Gauge]:
        """The state of each windowed limit, for the headers of an answer."""
        return [
            Gauge(m.scope, m.limit, max(0, m.limit - m.log.slide(now_ns)), m.log.empty_in_ns(now_ns))
            for m in self._meters.values()
        ]

    def report(self) -> dict[str, Any]:
        """For the books: each limit, the most any window held, and how often it refused."""
        report: dict[str, Any] = {
            meter.scope.value: {"limit": meter.limit, "max_in_window": meter.log.peak, "refused": meter.refused}
            for meter in self._meters.values()
        }
        report["concurrency"] = {
            "limit": self.limits.concurrency,
            "peak": self.peak_in_flight,
            "refused": self.refused_in_flight,
        }
        if self._meters:
            report["offered_requests"] = {"max_in_window": self.offered.peak}
        return report


def _lengths(limits: Limits) -> tuple[float, float]:
    return limits.window_s, limits.day_s


def _limited(limits: Limits) -> Iterator[tuple[Scope, int]]:
    pairs = (
        (Scope.REQUESTS, limits.rpm),
        (Scope.TOKENS, limits.tpm),
        (Scope.INPUT_TOKENS, limits.input_tpm),
        (Scope.OUTPUT_TOKENS, limits.output_tpm),
        (Scope.REQUESTS_DAY, limits.rpd),
        (Scope.TOKENS_DAY, limits.tpd),
    )
    return ((scope, limit) for scope, limit in pairs if limit is not None)


def _at_arrival(scope: Scope, cost: Cost, counting: Counting) -> int:
    """What the limit is charged with when the call comes in."""
    if scope in {Scope.REQUESTS, Scope.REQUESTS_DAY}:
        return 1
    output = {Counting.ACTUAL: cost.output_tokens, Counting.DECLARED: cost.declared_tokens, Counting.END: 0}[counting]
    if scope is Scope.INPUT_TOKENS:
        return cost.input_tokens
    return output if scope is Scope.OUTPUT_TOKENS else cost.input_tokens + output


def _longer(wait_ns: int | None, than_ns: int | None) -> bool:
    return than_ns is not None and (wait_ns is None or wait_ns > than_ns)
