"""What a model name means: which providers can serve it, in which order, with which parameters.

Comes in: the settings and a line's ``model``. Goes out: a ``Plan`` of ``Route`` records, or the sentence that says why
there is none. A name is explained by the first of: ``[models.NAME]``; ``provider/model`` where the provider is
configured; ``default_provider``; ``provider/model`` of a preset; a preset that owns the name's family. No I/O; keys are
only named.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bucketline.errors import ConfigError
from bucketline.settings import LimitSettings, ModelSettings, ProviderSettings, RouteSettings, Settings

__all__ = ["PRESETS", "WIRES", "Catalog", "Limits", "Plan", "Preset", "Provider", "Route"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A provider known by name: its wire, address and usual key variable. Model ids are not here: they age."""

    wire: str
    base_url: str
    api_key_env: str | None
    families: tuple[str, ...] = ()  #: beginnings of bare model names that are surely this provider's
    price_as: str | None = None
    stream: str = "auto"


#: the forms of API that calls can be made in
WIRES = ("anthropic", "bedrock", "gemini", "openai", "vertex")
#: wire → variables in which the cloud's own tools look for the region, and for the project
_REGION_ENV = {"vertex": ("GOOGLE_CLOUD_LOCATION",), "bedrock": ("AWS_REGION", "AWS_DEFAULT_REGION")}
_PROJECT_ENV = {"vertex": ("GOOGLE_CLOUD_PROJECT",)}

#: variable of a key → the other names by which providers and their tools call it, looked at where it is not set
_ALSO_NAMED = {"LLMAPI_API_KEY": ("LLM_API_KEY",), "GEMINI_API_KEY": ("GOOGLE_API_KEY",)}

#: name → preset; addresses and variables as the providers document them
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "openai": Preset(
            "openai", "https://api.openai.com/v1", "OPENAI_API_KEY", ("gpt-", "o1", "o3", "o4", "text-embedding-")
        ),
        "anthropic": Preset("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", ("claude-",)),
        "google": Preset("gemini", "https://generativelanguage.googleapis.com", "GEMINI_API_KEY", ("gemini-",)),
        "vertex": Preset("vertex", "", None, price_as="google"),
        "azure": Preset("openai", "", "AZURE_OPENAI_API_KEY"),
        "moonshot": Preset(
            "openai", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", ("kimi-", "moonshot-"), "moonshotai"
        ),
        "moonshot-cn": Preset("openai", "https://api.moonshot.cn/v1", "MOONSHOT_API_KEY", (), "moonshotai"),
        "llmapi": Preset("openai", "https://api.llmapi.ai/v1", "LLMAPI_API_KEY", stream="always"),
        "bedrock": Preset("bedrock", "", None, price_as="aws"),
        "openrouter": Preset("openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "deepseek": Preset("openai", "https://api.deepseek.com", "DEEPSEEK_API_KEY", ("deepseek-",)),
        "groq": Preset("openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "together": Preset("openai", "https://api.together.ai/v1", "TOGETHER_API_KEY"),
        "mistral": Preset("openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", ("mistral-", "codestral-")),
        "ollama": Preset("openai", "http://127.0.0.1:11434/v1", None),
    }
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Allowances of one scope; None is no limit. ``burst_s``: so many seconds' worth of a minute may leave at once."""

    rpm: int | None = None
    tpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    concurrency: int | None = None
    burst_s: float = 1.0
    reset_hour: int = 0
    reset_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Provider:
    """One account: how to speak to it and what it allows. Holds no key, only where to find it."""

    name: str
    wire: str
    base_url: str
    api_key_env: str | None
    api_key_file: str | None
    scope: str
    limits: Limits
    model_limits: Mapping[str, Limits]
    headers: Mapping[str, str]
    price_as: str
    stream: str
    region: str | None = None
    project: str | None = None
    api_version: str | None = None
    proxy: str | None = None
    ca_file: str | None = None
    recheck_s: float | None = None
    preset: str | None = None
    idempotency_header: str | None = None

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The variables that may hold the key, in the order in which they are looked at; none where it needs none."""
        if self.api_key_env is None:
            return ()
        return (self.api_key_env, *_ALSO_NAMED.get(self.api_key_env, ()))


@dataclass(frozen=True, slots=True)
class Route:
    """One way to an answer: a provider, its name for the model, and the parameters that differ there."""

    provider: Provider
    model: str
    set: Mapping[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    quality: float | None = None
    context_tokens: int | None = None
    drop: bool = False
    #: ``provider/model``: the route's key in prices, health and the manifest
    name: str = field(init=False, compare=False)
    #: the scopes whose limits a call on this route must fit: the account's, and the model's where it has any
    scopes: tuple[tuple[str, Limits], ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        provider = self.provider
        own = provider.model_limits.get(self.model)
        scopes = [(provider.scope, provider.limits)] + ([(f"{provider.scope}/{self.model}", own)] if own else [])
        object.__setattr__(self, "name", f"{provider.name}/{self.model}")
        object.__setattr__(self, "scopes", tuple(scopes))


@dataclass(frozen=True, slots=True)
class Plan:
    """The routes of one model name in order, and the policy that may reorder them."""

    model: str
    routes: tuple[Route, ...]
    policy: str = "ordered"
    fall_back_on_filter: bool = False
    spill: bool = False
    spill_after_s: float = 30.0


class Catalog:
    """Model names to plans, for one configuration; plans are made once and kept."""

    def __init__(self, settings: Settings, env: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._env = env
        self._plans: dict[str, Plan] = {}
        self._providers: dict[str, Provider] = {}

    def plan(self, model: str) -> Plan:
        """The plan for a line's model. Raises ConfigError with one sentence when nothing explains the name."""
        plan = self._plans.get(model)
        if plan is None:
            plan = self._plans[model] = self._explain(model)
        return plan

    def provider(self, name: str) -> Provider:
        """The provider of that name, configured or preset. Raises ConfigError when there is none."""
        provider = self._providers.get(name)
        if provider is None:
            configured = self._settings.providers.get(name)
            if configured is None and name not in PRESETS:
                known = sorted({*self._settings.providers, *PRESETS})
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; add [providers.{name}] to the configuration."
                raise ConfigError(f"There is no provider {name!r}{hint}")
            provider = self._providers[name] = _provider(name, configured or ProviderSettings(), self._env)
        return provider

    def providers(self) -> list[Provider]:
        """Every configured provider."""
        return [self.provider(name) for name in self._settings.providers]

    def _explain(self, model: str) -> Plan:
        configured = self._settings.models.get(model)
        if configured is not None:
            return self._configured(model, configured)
        prefix, slash, rest = model.partition("/")
        if slash and rest and prefix in self._settings.providers:
            return Plan(model, (Route(self.provider(prefix), rest),))
        if self._settings.default_provider:
            return Plan(model, (Route(self.provider(self._settings.default_provider), model),))
        if slash and rest and prefix in PRESETS:
            return Plan(model, (Route(self.provider(prefix), rest),))
        for name, preset in PRESETS.items():
            if model.startswith(preset.families):
                return Plan(model, (Route(self.provider(name), model),))
        near = difflib.get_close_matches(model, self._settings.models, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "add it under [models], or write provider/model."
        raise ConfigError(f"No provider is known for the model {model!r}; {hint}")

    def _configured(self, model: str, configured: ModelSettings) -> Plan:
        routes = tuple(self._route(route) for route in configured.routes)
        return Plan(
            model, routes, configured.policy, configured.fall_back_on_filter, configured.spill, configured.spill_after_s
        )

    def _route(self, route: RouteSettings) -> Route:
        return Route(
            provider=self.provider(route.provider),
            model=route.model,
            set=MappingProxyType(dict(route.set)),
            unset=tuple(route.unset),
            rename=MappingProxyType(dict(route.rename)),
            weight=route.weight,
            quality=route.quality,
            context_tokens=route.context_tokens,
            drop=route.drop,
        )


def _limits(settings: LimitSettings) -> Limits:
    return Limits(**{name: getattr(settings, name) for name in Limits.__dataclass_fields__})


def _provider(name: str, given: ProviderSettings, env: Mapping[str, str]) -> Provider:
    preset_name = given.preset or (name if name in PRESETS else None)
    preset = PRESETS.get(preset_name) if preset_name else None
    if given.preset and preset is None:
        raise ConfigError(f"providers.{name}: there is no preset {given.preset!r}; presets are {', '.join(PRESETS)}.")
    wire = given.wire or (preset.wire if preset else "openai")
    base_url = (given.base_url or (preset.base_url if preset else "")).rstrip("/")
    if wire not in WIRES:
        near = difflib.get_close_matches(wire, WIRES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(WIRES)}."
        raise ConfigError(f"providers.{name}: there is no wire {wire!r}; {hint}")
    region = given.region or _first(env, _REGION_ENV.get(wire, ()))
    project = given.project or _first(env, _PROJECT_ENV.get(wire, ()))
    if not base_url:
        _check_cloud(name, wire, region, project, keyed=given.api_key_env is not None)
    keyed = given.api_key_env is not None or given.api_key_file is not None
    return Provider(
        name=name,
        wire=wire,
        base_url=base_url,
        api_key_env=given.api_key_env if keyed else (preset.api_key_env if preset else None),
        api_key_file=given.api_key_file,
        scope=given.scope or name,
        limits=_limits(given),
        model_limits=MappingProxyType({model: _limits(limits) for model, limits in given.models.items()}),
        headers=MappingProxyType(dict(given.headers)),
        price_as=given.price_as or (preset.price_as if preset and preset.price_as else preset_name or name),
        stream=given.stream if given.stream != "auto" or preset is None else preset.stream,
        region=region,
        project=project,
        api_version=given.api_version,
        proxy=given.proxy,
        ca_file=given.ca_file,
        recheck_s=given.recheck_s,
        preset=preset_name,
        idempotency_header=given.idempotency_header,
    )


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((env[name] for name in names if env.get(name)), None)


def _check_cloud(name: str, wire: str, region: str | None, project: str | None, *, keyed: bool) -> None:
    """A cloud's address follows from region and project; any other provider needs a base_url."""
    if wire == "bedrock" and region is None:
        raise ConfigError(f"providers.{name} has no region; set it, or the variable AWS_REGION.")
    if wire == "vertex" and project is None and not keyed:
        raise ConfigError(
            f"providers.{name} has no project; set it, or the variable GOOGLE_CLOUD_PROJECT, "
            "or name an API key for the express mode."
        )
    if wire not in ("vertex", "bedrock"):
        raise ConfigError(f"providers.{name} has no base_url.")
