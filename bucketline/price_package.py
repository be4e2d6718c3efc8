"""The price package's data as rows of ours.

Comes in: a provider's name in the price tables, a model's name, a time and a tier. Goes out: a ``Price``, or None
where the package knows no such model at that provider. genai-prices (https://github.com/pydantic/genai-prices)
carries its data in the wheel, so nothing here touches a network; the import takes a third of a second and happens on
the first question. Models are found by the package's own rules for one exact provider; a provider is never guessed
from a part of its name, and a model without prices in the data is unknown, not free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from bucketline.rates import Price, make_step

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

__all__ = ["context_tokens", "package_price", "package_source"]

#: other spellings of the package's provider ids
_ALIASES = {
    "bedrock": "aws",
    "gemini": "google",
    "moonshot": "moonshotai",
    "moonshot-cn": "moonshotai",
    "together-ai": "together",
    "vertex": "google",
    "xai": "x-ai",
}
#: gateways that bill ``provider/model`` at that provider's list price
_LIST_PRICE_GATEWAYS = frozenset({"llmapi"})
#: package's name of a price → ours; prices of things that our usage does not count are not here
_CLASS_OF = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "input_image_mtok": "image_input",
    "output_image_mtok": "image_output",
}
_CONTEXT_OF_TIER: Mapping[str, Mapping[str, str]] = {
    "standard": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}
#: provider → factor of its batch lane where the data has no row of its own for that model or date, and the classes
#: that keep the standard price. The providers' pricing pages; Google discounts no cache reads, Moonshot takes 60 %.
_BATCH_FACTOR: Mapping[str, tuple[Decimal, frozenset[str]]] = {
    "openai": (Decimal("0.5"), frozenset()),
    "anthropic": (Decimal("0.5"), frozenset()),
    "google": (Decimal("0.5"), frozenset({"cached_input"})),
    "moonshotai": (Decimal("0.6"), frozenset()),
}


@dataclass(frozen=True, slots=True)
class _Found:
    provider: Provider
    model: ModelInfo
    own: bool  #: the model is listed under this provider itself, so its variants hold


@cache
def package_source() -> str:
    """The package and its version, as the manifest names the source of a price."""
    return f"genai-prices {version('genai-prices')}"


def package_price(price_as: str, model: str, when_s: float, tier: str) -> Price | None:
    """The price of a model at a provider for the time of a call (unix seconds) and a tier."""
    found = _find(price_as, model)
    if found is None or tier not in _CONTEXT_OF_TIER or (tier != "standard" and price_as in _LIST_PRICE_GATEWAYS):
        return None
    when = datetime.fromtimestamp(when_s, UTC)
    standard = found.model.get_prices(when)
    prices = standard
    factor: Decimal | None = None
    kept: frozenset[str] = frozenset()
    if tier != "standard":
        prices = found.model.get_prices(when, dict(_CONTEXT_OF_TIER[tier])) if found.own else standard
        if prices == standard:
            if tier != "batch" or found.provider.id not in _BATCH_FACTOR:
                return None
            factor, kept = _BATCH_FACTOR[found.provider.id]
    name = f"{found.provider.id}/{found.model.id}"
    return _price(name, prices, tier=tier, factor=factor, kept=kept, since=_since(found.model, when))


def context_tokens(price_as: str, model: str) -> int | None:
    """How many tokens the model holds, where the data says so."""
    found = _find(price_as, model)
    return found.model.context_window if found else None


@cache
def _providers() -> dict[str, Provider]:
    from genai_prices.data import providers  # a third of a second, and not needed where every price is configured

    return {provider.id: provider for provider in providers}


def _find(price_as: str, model: str) -> _Found | None:
    if price_as in _LIST_PRICE_GATEWAYS:
        price_as, _, model = model.partition("/")
    providers = _providers()
    provider = providers.get(_ALIASES.get(price_as, price_as))
    if provider is None or not model:
        return None
    info = provider.find_model(model, all_providers=list(providers.values()))
    if info is None:
        return None
    return _Found(provider, info, any(info is one for one in provider.models))


def _since(model: ModelInfo, when: datetime) -> str | None:
    """The date of the dated price that holds at that time; None where the data has no dates for the model."""
    if not isinstance(model.prices, list):
        return None
    starts = (getattr(row.constraint, "start_date", None) for row in model.prices)
    return max((str(start) for start in starts if start is not None and start <= when.date()), default=None)


def _price(
    name: str, prices: ModelPrice, *, tier: str, factor: Decimal | None, kept: frozenset[str], since: str | None
) -> Price | None:
    known = {ours: value for theirs, ours in _CLASS_OF.items() if (value := prices.__dict__.get(theirs)) is not None}
    if "input" not in known:
        return None
    thresholds = {step.start for value in known.values() if not isinstance(value, Decimal) for step in value.tiers}
    per_thousand = prices.__dict__.get("requests_kcount")
    steps = []
    for over in (None, *sorted(thresholds)):
        unit_prices = {}
        for name_of_class, value in known.items():
            amount = value if isinstance(value, Decimal) else value.base
            if not isinstance(value, Decimal) and over is not None:
                amount = next((row.price for row in reversed(value.tiers) if row.start <= over), value.base)
            unit_prices[name_of_class] = amount * factor if factor and name_of_class not in kept else amount
        if isinstance(per_thousand, Decimal):
            unit_prices["request"] = per_thousand / 1000
        steps.append(
            make_step(name, unit_prices, tier=tier, over_input_tokens=over, source=package_source(), date=since)
        )
    return Price(tuple(steps))
