"""Are the configured models there? Each provider is asked which it has.

Comes in: the settings. Goes out: one finding for each provider asked and one for each configured model that it does not
have, with the nearest living name. Where there is no list to ask for, only names known to be retired are told. Called by
``doctor --models``; it makes no call that costs anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from bucketline.catalog import Catalog, Provider
from bucketline.errors import ConfigError, ServiceUnavailable
from bucketline.failure import Failure
from bucketline.model_ids import RETIRED, nearest
from bucketline.settings import Settings
from producer.doctor import Finding, Health
from worker.credentials import Credentials
from worker.providers.model_lists import list_call, read_list
from worker.transport import Clocks, Transport

__all__ = ["examine_models"]

_TIMEOUT_S = 30.0
_DATED = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2}|\d{3,4}|latest)$")  #: how providers end the dated name of a model
_WRONG = 2  #: the exit code of a wrong configuration

Listed = tuple[str, ...]


async def examine_models(settings: Settings, env: Mapping[str, str] | None = None) -> list[Finding]:
    """What each provider said, in the order of the configuration. Raises ConfigError where that cannot be read."""
    wanted = configured(settings)
    credentials = Credentials() if env is None else Credentials(env)
    transport = Transport(Clocks(settings.retry.connect_timeout_s))
    try:
        lists = await asyncio.gather(*(_ask(provider, credentials, transport) for provider, _ in wanted))
    finally:
        await transport.close()
    findings: list[Finding] = []
    for (provider, models), listed in zip(wanted, lists, strict=True):
        findings += judged(provider, models, listed)
    return findings


def configured(settings: Settings) -> list[tuple[Provider, list[str]]]:
    """Each provider that is configured or that a route names, with the models that are asked of it."""
    catalog = Catalog(settings)
    found: dict[str, dict[str, None]] = {name: dict.fromkeys(one.models) for name, one in settings.providers.items()}
    for model in settings.models:
        for route in catalog.plan(model).routes:
            found.setdefault(route.provider.name, {})[route.model] = None
    return [(catalog.provider(name), list(models)) for name, models in found.items()]


def judged(provider: Provider, models: list[str], listed: Listed | str | None) -> list[Finding]:
    """The findings on one provider. ``listed``: its models, why it could not be asked, or None without a list."""
    subject = f"models of {provider.name}"
    if isinstance(listed, str):
        return [Finding(subject, Health.WARNING, listed), *_retired(provider, models)]
    if listed is None or provider.preset == "azure":  # whose deployments have names of their own
        said = "there is no list to ask for; names are compared with those known to be retired"
        return [Finding(subject, Health.WELL, said), *_retired(provider, models)]
    missing = [model for model in models if not _is_in(model, listed)]
    said = f"{len(listed)} listed; {len(models) - len(missing)} of the {len(models)} configured are among them"
    return [
        Finding(subject, Health.WELL, said),
        *(_gone(provider, model, "is not among the provider's models", listed) for model in missing),
    ]


def _is_in(model: str, listed: Listed) -> bool:
    """Whether a list has the model: by its name, or under a dated one that it stands for (``…:variant`` aside)."""
    name = model.partition(":")[0]
    return any(one in (model, name) or _DATED.sub("", one) == name for one in listed)


def _retired(provider: Provider, models: list[str]) -> list[Finding]:
    gone = RETIRED.get(provider.preset or "", {})
    dates = {model: day for model in models for start, (day, _) in gone.items() if model.startswith(start)}
    return [_gone(provider, model, f"was retired ({day})", ()) for model, day in dates.items()]


def _gone(provider: Provider, model: str, what: str, listed: Listed) -> Finding:
    near = nearest(model, provider.preset, listed)
    hint = f"; the nearest one that is there is {near!r}." if near else "; there is none like it."
    return Finding(f"model {provider.name}/{model}", Health.ILL, what + hint, _WRONG)


async def _ask(provider: Provider, credentials: Credentials, transport: Transport) -> Listed | str | None:
    try:
        key = await credentials.key(provider)
    except (ConfigError, ServiceUnavailable) as error:
        return f"not asked: {error}"
    call = list_call(provider, key)
    if call is None:
        return None
    reply = await transport.send(call, provider, _TIMEOUT_S)
    listed = reply if isinstance(reply, Failure) else read_list(reply, key=key)
    return f"could not be asked: {listed.message}" if isinstance(listed, Failure) else listed
