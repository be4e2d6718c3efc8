"""The doctor: is everything here that the line needs?

Comes in: the path of a configuration. Goes out: findings, each one sentence that says what was looked at and, where it is
not well, what to do. Keys are never shown, only whether their variable is set. Called by ``bucketline doctor``; it changes
nothing but for a probe object that it removes again.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bucketline.catalog import PRESETS, Catalog
from bucketline.errors import BucketlineError, ServiceUnavailable
from bucketline.settings import Settings, load_settings

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Finding", "Health", "examine"]

_OLDEST_REDIS = (6, 2)


class Health(StrEnum):
    """How a thing was found."""

    WELL = "ok"
    WARNING = "warning"
    ILL = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``exit_code`` is 0 unless it is ill."""

    subject: str
    health: Health
    sentence: str
    exit_code: int = 0


async def examine(config: str | None, env: Mapping[str, str] = os.environ) -> AsyncIterator[Finding]:
    """Look at everything in turn; what is ill does not stop the rest, unless there is no configuration to go by."""
    for finding in _modules():
        yield finding
    try:
        settings = load_settings(config, env)
    except BucketlineError as error:
        yield _ill("configuration", error)
        return
    yield _configuration(config, settings, env)
    for finding in _providers(settings, env):
        yield finding
    async for finding in _redis(settings):
        yield finding
    yield await _store(settings)


def _modules() -> Iterator[Finding]:
    """Which packages are imported: their names are common words, and another folder's may stand before ours."""
    yield Finding("python", Health.WELL, f"{sys.version.split()[0]} at {sys.executable}")
    for name in ("bucketline", "producer", "worker"):
        module = import_module(name)
        place = module.__file__ or "nowhere"
        home = import_module("bucketline").__file__ or ""
        if Path(place).parents[1:2] == Path(home).parents[1:2]:
            yield Finding(name, Health.WELL, f"imported from {place}")
        else:
            yield Finding(name, Health.ILL, f"imported from {place}, which is not ours; rename that module.", 2)


def _configuration(config: str | None, settings: Settings, env: Mapping[str, str]) -> Finding:
    chosen = config or env.get("BUCKETLINE_CONFIG") or "bucketline.toml"
    place = chosen if Path(chosen).exists() else "no file; presets and the environment"
    words = f"{place}: {len(settings.providers)} providers, {len(settings.models)} models"
    try:
        catalog = Catalog(settings)
        catalog.providers()
        for model in settings.models:
            catalog.plan(model)
    except BucketlineError as error:
        return _ill("configuration", error)
    return Finding("configuration", Health.WELL, words)


def _providers(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    """Configured providers, and presets whose key is there."""
    catalog = Catalog(settings)
    configured = set(settings.providers)
    for name in [*settings.providers, *(preset for preset in PRESETS if preset not in configured)]:
        try:
            provider = catalog.provider(name)
        except BucketlineError:
            continue  # said under configuration
        subject, variable = f"provider {name}", provider.api_key_env
        if provider.api_key_file:
            there = os.access(provider.api_key_file, os.R_OK)
            said = f"its key file {provider.api_key_file} {'can' if there else 'cannot'} be read"
            yield Finding(subject, Health.WELL if there else Health.WARNING, said)
        elif variable is None:
            if name in configured:
                yield Finding(subject, Health.WELL, "needs no key variable")
        elif found := next((named for named in provider.key_variables if env.get(named)), None):
            yield Finding(subject, Health.WELL, f"{found} is set")
        elif name in configured:
            yield Finding(subject, Health.WARNING, f"{variable} is not set; its models cannot be used from here.")


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    from redis.exceptions import RedisError

    from bucketline.connect import connect_redis, safe_address

    if not settings.redis_url:
        yield Finding("redis", Health.WARNING, "none is configured; only run and demo work, which start their own.")
        return
    try:
        redis = await connect_redis(settings.redis_url)
    except BucketlineError as error:
        yield _ill("redis", error)
        return
    try:
        info: dict[str, Any] = await redis.info()
        yield _version(info, safe_address(settings.redis_url))
        yield _eviction(info, allowed=settings.allow_evicting_redis)
        yield _persistence(info, await _saves(redis))
    except (RedisError, OSError) as error:
        yield Finding("redis", Health.ILL, f"answers no further: {error}", ServiceUnavailable.exit_code)
    finally:
        await redis.aclose()


def _version(info: Mapping[str, Any], address: str) -> Finding:
    version = str(info.get("redis_version", "0"))
    words = f"{version} at {address}"
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if info.get("role") == "slave":
        return Finding("redis", Health.ILL, f"{words} is a replica and takes no writes; name the primary.", 2)
    if numbers < _OLDEST_REDIS:
        return Finding("redis", Health.ILL, f"{words} is older than 6.2; use a newer one.", 2)
    return Finding("redis", Health.WELL, words)


def _eviction(info: Mapping[str, Any], *, allowed: bool) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    limit = int(info.get("maxmemory", 0) or 0)
    words = f"maxmemory-policy is {policy}" + ("" if limit else ", without a maxmemory")
    if policy.startswith("allkeys"):
        words += "; Redis may drop any key when it is full. Set noeviction."
        return Finding("redis eviction", Health.WARNING if allowed else Health.ILL, words, 0 if allowed else 2)
    if policy.startswith("volatile"):
        return Finding("redis eviction", Health.WARNING, words + "; waiting tickets may be dropped. Set noeviction.")
    return Finding("redis eviction", Health.WELL, words)


def _persistence(info: Mapping[str, Any], saves: str | None) -> Finding:
    subject = "redis persistence"
    if int(info.get("aof_enabled", 0) or 0):
        return Finding(subject, Health.WELL, "append-only file")
    if saves:
        return Finding(subject, Health.WARNING, "snapshots only; a crash forgets the last minutes. Set appendonly yes.")
    if saves is None:
        return Finding(subject, Health.WARNING, "cannot be asked; see that appendonly is on.")
    return Finding(
        subject, Health.WARNING, "none: after a restart answers that are in no part yet are asked, and paid, again."
    )


async def _saves(redis: Redis) -> str | None:
    """The snapshot rules; None where CONFIG is not allowed, as on many hosted ones."""
    from redis.exceptions import ResponseError

    try:
        found = await redis.config_get("save")
    except ResponseError:
        return None
    return str(found.get("save", ""))


async def _store(settings: Settings) -> Finding:
    from bucketline.store import open_store

    if not settings.store:
        return Finding("store", Health.WARNING, "none is configured; only run and demo work, which use a folder.")
    try:
        store = open_store(settings.store)
        try:
            await store.check()
            return Finding("store", Health.WELL, f"{store.address}: writes, reads, lists and deletes")
        finally:
            await store.close()
    except BucketlineError as error:
        return _ill("store", error)


def _ill(subject: str, error: BucketlineError) -> Finding:
    return Finding(subject, Health.ILL, str(error), error.exit_code)
