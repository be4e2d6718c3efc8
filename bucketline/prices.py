"""The price book: what a call on a route costs, as of its time.

Comes in: the settings' ``[prices]`` and, behind them, the price package; then one question per attempt. Goes out: a
``Cost`` in nano-dollars, or one that says the price or the usage is unknown, never zero in its place. Called by
dispatch (cost, reservations), finish and verify (unit prices) and the commands. A price is resolved once per provider,
model, quarter of an hour and tier (prices change at dates and, at some providers, at hours); after that a question is
one dictionary look-up and integer arithmetic.

The model that answered is the model that is billed: its own price where it has one, exact or under the name that
differs only by a date; the routed model's price where the answer merely spelled that name otherwise; else unknown.
No name is ever matched by a part of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

from bucketline.catalog import Route
from bucketline.errors import ConfigError
from bucketline.outcome import Cost
from bucketline.price_package import package_price
from bucketline.rates import CLASSES, Price, make_step
from bucketline.settings import PriceSettings, PriceTier, Settings
from bucketline.usage import Usage

__all__ = ["PriceBook", "same_model", "standard_tier", "undated"]

_SLOT_S = 900  #: prices that change by the hour change at whole quarters
_MOST_KEPT = 4096  #: resolved prices held; served names come from outside and must not fill the memory
_CONFIGURATION = "configuration"
#: what the providers call the tier that one gets without asking, in small letters
_STANDARD = frozenset({"", "auto", "default", "on_demand", "on-demand", "standard", "standard_only", "unspecified"})
_MONTH, _DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
#: -2024-07-18, -20240718, @20240718, -07-18, -07-2024, -0718 (but 1024 is a size), and the numbered releases -001
_DATE_SUFFIX = re.compile(
    rf"[-@](?:20\d\d-{_MONTH}-{_DAY}|20\d\d{_MONTH}{_DAY}|{_MONTH}-{_DAY}|{_MONTH}-20\d\d|(?!1024$){_MONTH}{_DAY}|00\d)$"
)


class PriceBook:
    """Prices of one configuration. ``clock`` (unix seconds) dates the questions that come without a time."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Read the configured prices. Raises ConfigError that names the price which cannot be read."""
        self._clock = clock
        self._configured = {name: _dated_rows(name, rows) for name, rows in settings.prices.items()}
        self._prices: dict[tuple[str, str, str | None, str, str | None, int], Price | None] = {}

    def cost(
        self,
        route: Route,
        *,
        served_model: str | None,
        usage: Usage | None,
        when_s: float,
        tier: str = "standard",
        region: str | None = None,
        reported_nanousd: int | None = None,
    ) -> Cost:
        """What a call cost that was answered on a route. A charge that a gateway reported counts; ours is kept."""
        price = self.price(route, when_s, served_model=served_model, tier=tier, region=region)
        step = None if price is None else price.step(0 if usage is None else usage.input_tokens)
        computed = None if step is None or usage is None else step.rates.nanousd(usage)
        if tier != "standard":
            tier = standard_tier(tier)
        if reported_nanousd is not None:
            return Cost(reported_nanousd, 0, step, tier, reported_nanousd, computed)
        return Cost(computed, 0, step, tier)

    def maybe_cost(
        self, route: Route, *, input_tokens: int, output_tokens: int, when_s: float, tier: str = "standard"
    ) -> Cost:
        """The cost of a call that may have been billed: nothing at least, the whole of it at most."""
        price = self.price(route, when_s, tier=tier)
        if price is None:
            return Cost(0, None, None, standard_tier(tier))
        step = price.step(input_tokens)
        most = step.rates.nanousd(Usage(input_tokens=input_tokens, output_tokens=output_tokens))
        return Cost(0, most, step, standard_tier(tier))

    def likely_nanousd(
        self,
        route: Route,
        input_tokens: int,
        output_tokens: int,
        *,
        when_s: float | None = None,
        tier: str = "standard",
    ) -> int | None:
        """What a call of that size costs at full rates, for reservations and estimates; None without a price."""
        price = self.price(route, self._clock() if when_s is None else when_s, tier=tier)
        if price is None:
            return None
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        return price.step(input_tokens).rates.nanousd(usage)

    def priced(self, route: Route, *, when_s: float | None = None, tier: str = "standard") -> bool:
        """Whether calls on the route have a price."""
        return self.price(route, self._clock() if when_s is None else when_s, tier=tier) is not None

    def price(
        self,
        route: Route,
        when_s: float,
        *,
        served_model: str | None = None,
        tier: str = "standard",
        region: str | None = None,
    ) -> Price | None:
        """Every step of the price that holds for a route at a time (unix seconds); None: unknown."""
        key = (route.provider.name, route.model, served_model, tier, region, int(when_s) // _SLOT_S)
        try:
            return self._prices[key]
        except KeyError:
            pass
        if len(self._prices) >= _MOST_KEPT:
            self._prices.clear()
        price = self._resolve(route, served_model, when_s, standard_tier(tier), region or route.provider.region)
        self._prices[key] = price
        return price

    def _resolve(
        self, route: Route, served_model: str | None, when_s: float, tier: str, region: str | None
    ) -> Price | None:
        if served_model and served_model != route.model:
            price = self._named(route, served_model, when_s, tier, region)
            if price is not None or not same_model(served_model, route.model):
                return price
        return self._named(route, route.model, when_s, tier, region)

    def _named(self, route: Route, model: str, when_s: float, tier: str, region: str | None) -> Price | None:
        """The price under one name, then under the same name without its date; configuration before the package."""
        names = list(dict.fromkeys((model, undated(model))))
        for name in names:
            configured = self._configured_rows(route.provider.name, name, when_s, region)
            if configured is not None:
                return _configured_price(*configured, tier)
        for name in names:
            price = package_price(route.provider.price_as, name, when_s, tier)
            if price is not None:
                return price
        return None

    def _configured_rows(
        self, provider: str, model: str, when_s: float, region: str | None
    ) -> tuple[str, PriceSettings] | None:
        """The configured row that holds at a time: the provider's before the model's own, the region's before all."""
        today = datetime.fromtimestamp(when_s, UTC).date()
        for name in (f"{provider}/{model}", model):
            for key in (f"{name}@{region}", name) if region else (name,):
                for since, row in self._configured.get(key, ()):
                    if since is None or since <= today:
                        return key, row
        return None


def undated(model: str) -> str:
    """The name without a date, release number or ``-latest`` at its end."""
    return _DATE_SUFFIX.sub("", model.removesuffix("-latest"))


def same_model(one: str, other: str) -> bool:
    """Whether two names are spellings of one model: equal but for case, a path before it, or one date after it.

    Two different dates are two models, and so are two different paths.
    """
    one, other = one.lower().removesuffix("-latest"), other.lower().removesuffix("-latest")
    if ("/" in one) != ("/" in other):
        one, other = one.rsplit("/", 1)[-1], other.rsplit("/", 1)[-1]
    return one == other or undated(one) == other or one == undated(other)


def standard_tier(tier: str) -> str:
    """A provider's word for a service tier in our spelling; their words for the usual one are one word."""
    tier = tier.lower().removeprefix("service_tier_")
    return "standard" if tier in _STANDARD else tier


def _dated_rows(name: str, rows: PriceSettings | list[PriceSettings]) -> tuple[tuple[date | None, PriceSettings], ...]:
    """Rows with the day from which each holds, the latest first; one without a day holds since ever."""
    dated: list[tuple[date | None, PriceSettings]] = []
    for row in rows if isinstance(rows, list) else [rows]:
        try:
            dated.append((None if row.valid_from is None else date.fromisoformat(row.valid_from), row))
        except ValueError:
            raise ConfigError(
                f"prices.{name}: valid_from is {row.valid_from!r}; write a day such as 2026-01-31."
            ) from None
    return tuple(sorted(dated, key=lambda pair: pair[0] or date.min, reverse=True))


def _configured_price(name: str, row: PriceSettings, tier: str) -> Price | None:
    """A configured row as steps. A tier step without a price of its own for a class keeps the row's."""
    factor = Decimal(1)
    if tier != "standard":
        given = getattr(row, tier, None) if tier in ("batch", "flex", "priority") else None
        if given is None:
            return None
        factor = Decimal(given)
    rows: list[tuple[int | None, dict[str, Decimal]]] = [(None, _unit_prices(row, factor))]
    for above in sorted(row.tiers, key=lambda one: one.over_input_tokens):
        rows.append((above.over_input_tokens, rows[-1][1] | _unit_prices(above, factor)))
    return Price(
        tuple(
            make_step(name, prices, tier=tier, over_input_tokens=over, source=_CONFIGURATION, date=row.valid_from)
            for over, prices in rows
        )
    )


def _unit_prices(row: PriceSettings | PriceTier, factor: Decimal) -> dict[str, Decimal]:
    names = (*CLASSES, "request")
    return {name: Decimal(value) * factor for name in names if (value := getattr(row, name, None)) is not None}
