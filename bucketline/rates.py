"""Rates and the arithmetic of one call's cost.

Comes in: unit prices as decimal USD per million tokens, and the usage of one call. Goes out: integer femto-dollars,
rounded once per call to nano-dollars. Where prices come from is ``bucketline.prices``' business; this file knows
only what a token of each class costs and how many of each class a call used. Pure; called once per attempt, so the
usual call is a handful of integer multiplications.

The classes of a call partition its tokens: cached, written (five minutes and one hour), audio and image input, and
the rest at the input rate; reasoning, audio and image output, and the rest at the output rate. A class without its
own price costs what the class around it costs. Counts that contradict each other never make a negative rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

from bucketline.money import femto_per_token, round_femto
from bucketline.usage import Usage

__all__ = ["CLASSES", "Price", "Rates", "Step", "decimal_text", "femto_per_request", "make_step"]

#: the classes of tokens that can be priced, in the spelling of ``[prices]`` and of ``unit_prices``
CLASSES = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
)
#: class → the class whose rate it takes where it has none of its own
_AROUND = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "reasoning": "output",
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}
_MTOK_SCALE = -9  #: femto-dollars per token → USD per million tokens
_REQUEST_FEMTO_PER_USD = 10**15


@dataclass(frozen=True, slots=True)
class Rates:
    """Femto-dollars per token of each class; a class in ``gaps`` has no known price. ``request`` is per call."""

    input: int
    cached_input: int
    cache_write: int
    cache_write_1h: int
    output: int
    reasoning: int
    audio_input: int
    audio_output: int
    image_input: int
    image_output: int
    request: int = 0
    gaps: frozenset[str] = frozenset()

    @classmethod
    def from_prices(cls, unit_prices: Mapping[str, str | Decimal]) -> Rates:
        """Read unit prices (USD per million tokens; ``request`` in USD). Raises ConfigError for a bad amount."""
        known: dict[str, int | None] = {}
        for name in CLASSES:
            given = unit_prices.get(name)
            around = _AROUND.get(name)
            known[name] = femto_per_token(given) if given is not None else known[around] if around else None
        request = unit_prices.get("request")
        gaps = frozenset(name for name, rate in known.items() if rate is None)
        rates = {name: rate or 0 for name, rate in known.items()}
        return cls(**rates, request=0 if request is None else femto_per_request(request), gaps=gaps)

    def femto(self, usage: Usage) -> int | None:
        """What the usage costs, in femto-dollars; None where a class that was used has no price."""
        if (
            self.gaps
            or usage.audio_input_tokens
            or usage.audio_output_tokens
            or usage.image_input_tokens
            or usage.image_output_tokens
        ):
            return self._femto_of_classes(usage)
        cached, written = usage.cached_input_tokens, usage.cache_write_tokens
        fresh = usage.input_tokens - cached - written
        output, reasoning = usage.output_tokens, usage.reasoning_tokens
        total = self.request + output * self.output
        if fresh > 0:
            total += fresh * self.input
        if cached:
            total += cached * self.cached_input
        if written:
            hour = min(usage.cache_write_1h_tokens, written)
            total += (written - hour) * self.cache_write + hour * self.cache_write_1h
        if reasoning:
            total += min(reasoning, output) * (self.reasoning - self.output)
        return total

    def nanousd(self, usage: Usage) -> int | None:
        """What the usage costs, rounded once, half to even; None where it cannot be known."""
        femto = self.femto(usage)
        return None if femto is None else round_femto(femto)

    def _femto_of_classes(self, usage: Usage) -> int | None:
        """The same for any usage. Audio and image tokens that must have been cached go at the cached rate."""
        cached, written = usage.cached_input_tokens, usage.cache_write_tokens
        hour = min(usage.cache_write_1h_tokens, written)
        fresh = max(0, usage.input_tokens - cached - written)
        audio_in = min(usage.audio_input_tokens, fresh)
        image_in = min(usage.image_input_tokens, fresh - audio_in)
        said = usage.output_tokens
        audio_out = min(usage.audio_output_tokens, said)
        image_out = min(usage.image_output_tokens, said - audio_out)
        reasoning = min(usage.reasoning_tokens, said - audio_out - image_out)
        counts = {
            "input": fresh - audio_in - image_in,
            "cached_input": cached,
            "cache_write": written - hour,
            "cache_write_1h": hour,
            "audio_input": audio_in,
            "image_input": image_in,
            "output": said - audio_out - image_out - reasoning,
            "reasoning": reasoning,
            "audio_output": audio_out,
            "image_output": image_out,
        }
        if any(counts[name] for name in self.gaps):
            return None
        return self.request + sum(count * int(getattr(self, name)) for name, count in counts.items())


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a price list: the rates from a prompt length on, and where they come from.

    ``key`` is a digest of everything that makes the row what it is, so two rows with one key cost the same.
    """

    key: str
    model: str  #: the name that was priced
    tier: str
    over_input_tokens: int | None  #: strictly over, and for the whole request; None: from nothing on
    unit_prices: Mapping[str, str]
    source: str
    date: str | None  #: since when the row holds, where that is known
    rates: Rates

    def document(self) -> dict[str, Any]:
        """The row as parts and manifest carry it."""
        return {
            "model": self.model,
            "tier": self.tier,
            "over_input_tokens": self.over_input_tokens,
            "unit_prices": dict(self.unit_prices),
            "source": self.source,
            "date": self.date,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Step:
        """Read what ``document`` wrote; the key is derived again. Raises KeyError where a member is missing."""
        return make_step(
            document["model"],
            document["unit_prices"],
            tier=document["tier"],
            over_input_tokens=document["over_input_tokens"],
            source=document["source"],
            date=document.get("date"),
        )


@dataclass(frozen=True, slots=True)
class Price:
    """Everything known of one model's price at one time and tier: steps by prompt length, the lowest first."""

    steps: tuple[Step, ...]

    def step(self, input_tokens: int) -> Step:
        """The step that applies to a whole request with that many prompt tokens, cached ones counted."""
        for step in reversed(self.steps):
            over = step.over_input_tokens
            if over is None or input_tokens > over:
                return step
        return self.steps[0]


def make_step(
    model: str,
    unit_prices: Mapping[str, str | Decimal],
    *,
    tier: str,
    over_input_tokens: int | None,
    source: str,
    date: str | None,
) -> Step:
    """A row with its key. Prices are kept in the one shortest spelling. Raises ConfigError for a bad amount."""
    given = (name for name in (*CLASSES, "request") if unit_prices.get(name) is not None)
    texts = {name: decimal_text(unit_prices[name]) for name in given}
    prices = (f"{name}={text}" for name, text in texts.items())
    identity = [model, tier, str(over_input_tokens), source, str(date), *prices]
    key = sha256("\n".join(identity).encode()).hexdigest()[:10]
    return Step(key, model, tier, over_input_tokens, texts, source, date, Rates.from_prices(texts))


def femto_per_request(usd: str | Decimal) -> int:
    """USD per request → femto-dollars, half to even."""
    return int((Decimal(usd) * _REQUEST_FEMTO_PER_USD).to_integral_value())


def decimal_text(amount: str | Decimal) -> str:
    """The shortest decimal of an amount of dollars, as exact as femto-dollars per token are (nine decimals)."""
    value = Decimal(femto_per_token(amount)).scaleb(_MTOK_SCALE).normalize()
    return f"{value:f}"
