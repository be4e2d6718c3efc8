"""A scope of the gate at a glance: each limit with what is used of it, as two small commands can tell.

Comes in: a scope's figures, and a dozen fields of its state. Goes out: a ``Gauge`` for ``top`` and ``why``. The gate keeps exact
minutes in slots; reading all of them every second would be dear, so what is used is the sum of the gate's last look,
fading out once it looks no more. ``worker.limiter.scopes`` has the exact reader. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FIGURE_FIELDS", "STATE_FIELDS", "Gauge", "Limit", "gauge_of"]

#: figure → the letter of its sum and bucket in the state
_LETTERS = {"rpm": "q", "tpm": "t", "input_tpm": "i", "output_tpm": "o"}
_DAILY = {"rpd": "rd", "tpd": "td"}
#: figure → the gate's word for what it holds up
WORDS = {
    "rpm": "requests",
    "tpm": "tokens",
    "input_tpm": "input_tokens",
    "output_tpm": "output_tokens",
    "rpd": "requests_day",
    "tpd": "tokens_day",
    "concurrency": "concurrency",
}
FIGURE_FIELDS = (*_LETTERS, *_DAILY, "concurrency", "burst_ms", "budget")
STATE_FIELDS = (
    "at", "held", "nb", "nb.why", "rd", "td", "day.until", "aimd", "usd",
    *(f"{letter}.{part}" for letter in _LETTERS.values() for part in ("sum", "level")),
)  # fmt: skip
_WINDOW_S = 60.75
_LEASE_S = 15.0
_LIVE_S = 6.0  #: a lane with calls in flight speaks at least every five seconds
_UNIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a scope."""

    figure: str  #: rpm, tpm, input_tpm, output_tpm, rpd, tpd, concurrency
    limit: int
    used: int
    level: float | None = None  #: of the bucket that evens the flow: what may leave now, negative where it owes
    burst: float = 0.0
    found: bool = False  #: nobody set it: it was found out by refusals

    @property
    def share(self) -> float:
        return min(1.0, self.used / self.limit) if self.limit else 1.0

    @property
    def word(self) -> str:
        """The gate's name for it."""
        return WORDS[self.figure]

    def ready_in_s(self, amount: int) -> float:
        """About how long until so much may leave."""
        if self.level is None:
            return 0.0
        pace = self.limit / 60
        even = max(0.0, min(amount, self.burst) - self.level) / pace
        over = self.used + amount - self.limit
        return max(even, over / pace if over > 0 and self.used > 0 else 0.0)


@dataclass(frozen=True, slots=True)
class Gauge:
    """One scope; times are unix seconds on Redis' clock."""

    name: str
    limits: tuple[Limit, ...]
    in_flight: int
    paused_until_s: float | None = None
    pause_reason: str | None = None
    day_resets_s: float | None = None
    budget_nanousd: int | None = None
    spent_nanousd: int = 0  #: and reserved

    def limit(self, word: str) -> Limit | None:
        """The limit that the gate calls so."""
        return next((one for one in self.limits if one.word == word), None)


def gauge_of(name: str, figures: Mapping[str, str], state: Mapping[str, str], now_s: float) -> Gauge:
    """The gauge of one scope, from the fields named above; those that are missing are left out."""
    idle_s = now_s - _number(state, "at") / _UNIT
    fading = 1.0 if idle_s < _LIVE_S else max(0.0, 1 - idle_s / _WINDOW_S)
    in_flight = int(_number(state, "held")) if idle_s < _LEASE_S else 0
    paused_s = _number(state, "nb") / _UNIT
    resets_s = _number(state, "day.until") / _UNIT
    daily = "rpd" in figures or "tpd" in figures
    return Gauge(
        name=name,
        limits=tuple(_limits(figures, state, fading, in_flight, idle_s, today=resets_s > now_s)),
        in_flight=in_flight,
        paused_until_s=paused_s if paused_s > now_s else None,
        pause_reason=state.get("nb.why") if paused_s > now_s else None,
        day_resets_s=resets_s if daily and resets_s > now_s else None,
        budget_nanousd=int(figures["budget"]) if "budget" in figures else None,
        spent_nanousd=int(_number(state, "usd")),
    )


def _limits(
    figures: Mapping[str, str], state: Mapping[str, str], fading: float, in_flight: int, idle_s: float, *, today: bool
) -> list[Limit]:
    found = []
    for figure, letter in _LETTERS.items():
        if figure in figures:
            limit = int(figures[figure])
            burst = max(1.0, limit * _number(figures, "burst_ms", 1000) / 60_000)
            level = min(burst, _number(state, f"{letter}.level", burst * _UNIT) / _UNIT + max(0.0, idle_s) * limit / 60)
            used = round(_number(state, f"{letter}.sum") * fading)
            found.append(Limit(figure, limit, used, level, burst))
    for figure, field in _DAILY.items():
        if figure in figures:
            found.append(Limit(figure, int(figures[figure]), int(_number(state, field)) if today else 0))
    if "concurrency" in figures:
        found.append(Limit("concurrency", int(figures["concurrency"]), in_flight))
    if "aimd" in state:
        found.append(Limit("concurrency", int(state["aimd"]), in_flight, found=True))
    return found


def _number(fields: Mapping[str, str], name: str, absent: float = 0.0) -> float:
    return float(fields[name]) if name in fields else absent
