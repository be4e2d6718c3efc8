"""What is simulated: providers, their models, prices, keys, limits and weather, as frozen records.

In: keyword arguments, or a mapping as a TOML file or an admin call gives it (``read_config``, ``changed``). Out: a
``SimulatorConfig``. An unknown name or an impossible number is a ConfigError of one sentence. Reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError, with_config

from bucketline.errors import ConfigError
from worker.simulator.faults import Weather
from worker.simulator.limits import Limits
from worker.simulator.phases import Phase

__all__ = [
    "AccountScope",
    "ModelConfig",
    "Prices",
    "ProviderConfig",
    "RetryAfter",
    "SimulatorConfig",
    "Tier",
    "WireName",
    "changed",
    "read_config",
]

_T = TypeVar("_T")
ANY_MODEL = "*"  #: the name that stands for every model not listed


class WireName(StrEnum):
    """The API a provider is meant to be called by; every provider answers all of them."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    BEDROCK = "bedrock"


class RetryAfter(StrEnum):
    """How a 429 says when to come back, on wires that have a header for it."""

    SECONDS = "seconds"  #: whole seconds, rounded up; on OpenAI's wire ``retry-after-ms`` too
    DATE = "date"  #: an HTTP date
    NONE = "none"


class AccountScope(StrEnum):
    """Whose limits and whose money: one account for all keys, or one for each key."""

    PROVIDER = "provider"
    KEY = "key"


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class Tier:
    """Prices of a whole request whose input has strictly more tokens; None keeps the lower tier's price."""

    over_input_tokens: int
    input: str
    output: str
    cached_input: str | None = None
    cache_write: str | None = None


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class Prices:
    """USD per million tokens, decimal strings; without its own price a cached or written token costs ``input``."""

    input: str
    output: str = "0"
    cached_input: str | None = None
    cache_write: str | None = None
    tiers: tuple[Tier, ...] = ()


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model. Without prices its calls are billed nothing and counted as unpriced."""

    prices: Prices | None = None
    served_as: str | None = None  #: the name that answers carry
    output_tokens: float = 60.0  #: median of the visible output
    output_sigma: float = 0.5
    reasoning_tokens: float | None = None  #: median; None is 200 if the name says "think" or "reason", else 0
    cached_share: float = 0.0  #: of each input
    cache_write_share: float = 0.0  #: of each input
    context_tokens: int | None = None
    dimensions: int = 64  #: of an embedding, unless the request says
    refuses: tuple[str, ...] = ()  #: top-level fields of the body that are a 400
    limits: Limits | None = None  #: of this model in each account, beside the account's own

    def __post_init__(self) -> None:
        if min(self.cached_share, self.cache_write_share) < 0 or self.cached_share + self.cache_write_share > 1:
            raise ValueError("cached_share and cache_write_share are shares of the input, together at most 1.")


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One provider. ``keys`` maps an account's name to the key it shows; without keys everybody may come in."""

    wire: WireName = WireName.OPENAI
    models: Mapping[str, ModelConfig] = field(default_factory=lambda: {ANY_MODEL: ModelConfig()})
    keys: Mapping[str, str] = field(default_factory=dict)
    scope: AccountScope = AccountScope.PROVIDER
    limits: Limits = field(default_factory=Limits)
    weather: Weather = field(default_factory=Weather)
    phases: tuple[Phase, ...] = ()
    balance_usd: str | None = None  #: of each account; None is without end
    retry_after: RetryAfter = RetryAfter.SECONDS
    port: int = 0  #: 0 takes a free one


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """All providers of one process. ``one_port`` serves them under ``/NAME`` of a single port instead."""

    providers: Mapping[str, ProviderConfig]
    seed: int = 0
    host: str = "127.0.0.1"
    one_port: int | None = None
    record_calls: bool = False  #: keep every call for the books; memory grows with them
    remember: int = 250_000  #: requests whose repeats are recognised; the oldest are forgotten


def read_config(mapping: Mapping[str, Any]) -> SimulatorConfig:
    """A configuration from a parsed TOML or JSON document. Raises ConfigError."""
    return _read(SimulatorConfig, mapping, "")


def changed(record: _T, changes: Mapping[str, Any], place: str) -> _T:
    """A copy of a record with some fields given as plain data. Raises ConfigError naming ``place``."""
    if not is_dataclass(record) or isinstance(record, type):
        raise TypeError("Only records can be changed.")
    old = {f.name: getattr(record, f.name) for f in fields(record)}
    return _read(type(record), old | dict(changes), place)


def _read(kind: type[_T], mapping: Mapping[str, Any], place: str) -> _T:
    try:
        return TypeAdapter(kind).validate_python(mapping)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join((place, *map(str, first["loc"]))).strip(".") or "The simulator's configuration"
        raise ConfigError(f"{where}: {_sentence(first['type'], first['msg'])}") from None


def _sentence(kind: str, message: str) -> str:
    if kind == "unexpected_keyword_argument":
        return "there is no such setting."
    return message.removeprefix("Value error, ").removesuffix(".") + "."
