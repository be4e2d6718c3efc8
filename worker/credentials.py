"""Keys: where a provider's is found, how long it is good, and how a call is signed with it.

Comes in: a ``Provider`` (which names a variable, a file or a cloud account and holds no key) and, for Bedrock, the
whole call. Goes out: the key for the adapter's headers, or the signed call. Cloud tokens are fetched in a thread, once
for however many calls wait for one, and anew before they run out. Nothing here prints, logs or stores a key. Called by
``dispatch`` before each call; a lookup of a known key costs well under a microsecond.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bucketline.catalog import Provider
from bucketline.errors import ConfigError
from worker.providers.base import Call

__all__ = ["Credentials", "GoogleSource"]

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_EARLY_S = 300.0  #: a cloud token is replaced so long before it runs out
_FILE_GOOD_S = 30.0  #: a key file may be rewritten under us; it is read again after this

GoogleSource = Callable[[Provider], tuple[str, float]]  #: a fresh token and the unix time at which it runs out


class Credentials:
    """The keys of this process. ``google`` and ``aws`` fetch cloud credentials; they block and run in a thread."""

    def __init__(
        self,
        env: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.time,
        google: GoogleSource | None = None,
        aws: Callable[[], Any] | None = None,
    ) -> None:
        self._env = env
        self._clock = clock
        self._google = google or _GoogleTokens().fetch
        self._aws = aws or _aws_session_credentials
        self._keys: dict[str, tuple[str, float]] = {}
        self._fetching: dict[str, asyncio.Task[str]] = {}
        self._aws_credentials: Any = None

    def __repr__(self) -> str:
        return f"Credentials(known={sorted(self._keys)})"

    async def key(self, provider: Provider) -> str:
        """The key for a call, empty where the provider needs none.

        Raises ConfigError, in a sentence that names the variable or the file, when there is none to be had.
        """
        known = self._keys.get(provider.name)
        if known is not None and self._clock() < known[1]:
            return known[0]
        if _by_google(provider):
            return await self._once(provider)
        key, good_until = self._look_up(provider)
        self._keys[provider.name] = (key, good_until)
        return key

    def at_hand(self, provider: Provider) -> str | None:
        """The key where it is known already and still good."""
        known = self._keys.get(provider.name)
        return known[0] if known is not None and self._clock() < known[1] else None

    async def sign(self, call: Call, provider: Provider) -> Call:
        """The call as it may leave: signed with AWS's SigV4 where it is Bedrock's and bears no key of its own."""
        if provider.wire != "bedrock" or "Authorization" in call.headers:
            return call
        credentials = await self._aws_keys(provider)
        return _signed(call, credentials, provider.region or _region_of(call.url))

    def forget(self, provider: Provider) -> None:
        """Drop what is known, after the provider said that it has run out; the next call fetches it anew."""
        self._keys.pop(provider.name, None)
        if provider.wire == "bedrock":
            self._aws_credentials = None

    def check(self, provider: Provider) -> str | None:
        """What is wrong with a provider's key as far as this machine can tell, in one sentence; None when all is well.

        Fetches no cloud token.
        """
        if _by_google(provider):
            return None
        try:
            self._look_up(provider)
        except ConfigError as error:
            return str(error)
        return None

    def _look_up(self, provider: Provider) -> tuple[str, float]:
        """A static key and how long it need not be looked up again."""
        if provider.api_key_file:
            return _read_key(provider.api_key_file, provider.name), self._clock() + _FILE_GOOD_S
        if provider.wire == "bedrock" and not provider.api_key_env:
            return self._env.get("AWS_BEARER_TOKEN_BEDROCK", ""), math.inf
        if not provider.api_key_env:
            return "", math.inf
        for name in provider.key_variables:
            key = self._env.get(name, "").strip()
            if key:
                return _checked(key, f"the variable {name}"), math.inf
        raise ConfigError(f"The provider {provider.name!r} needs a key: set the variable {provider.api_key_env}.")

    async def _once(self, provider: Provider) -> str:
        """One fetch for all who wait; a waiter that is cancelled does not cancel it for the others."""
        task = self._fetching.get(provider.name)
        if task is None:
            task = self._fetching[provider.name] = asyncio.create_task(self._fetch(provider))
            task.add_done_callback(lambda done: self._fetched(provider.name, done))
        return await asyncio.shield(task)

    async def _fetch(self, provider: Provider) -> str:
        token, runs_out_s = await asyncio.to_thread(self._google, provider)
        self._keys[provider.name] = (token, runs_out_s - _EARLY_S)
        return token

    def _fetched(self, name: str, task: asyncio.Task[str]) -> None:
        self._fetching.pop(name, None)
        if not task.cancelled():
            task.exception()  # looked at, so that a failure nobody waits for any more makes no noise

    async def _aws_keys(self, provider: Provider) -> Any:
        """Frozen AWS keys. botocore renews roles by itself, blocking, so it is asked in a thread when that is due."""
        if self._aws_credentials is None:
            self._aws_credentials = await asyncio.to_thread(self._aws)
        if self._aws_credentials is None:
            raise ConfigError(
                f"The provider {provider.name!r} needs AWS credentials: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, a profile or a role."
            )
        due = getattr(self._aws_credentials, "refresh_needed", None)
        if due is not None and due():
            return await asyncio.to_thread(self._aws_credentials.get_frozen_credentials)
        return self._aws_credentials.get_frozen_credentials()


class _GoogleTokens:
    """Access tokens by google-auth: the service account file that a provider names, else what the machine offers."""

    def __init__(self) -> None:
        self._credentials: dict[str, Any] = {}

    def fetch(self, provider: Provider) -> tuple[str, float]:
        import google.auth.exceptions
        import google.auth.transport.urllib3
        import urllib3

        try:
            credentials: Any = self._credentials.get(provider.name)
            if credentials is None:
                credentials = self._credentials[provider.name] = _google_credentials(provider)
            pool = urllib3.ProxyManager(provider.proxy) if provider.proxy else urllib3.PoolManager()
            credentials.refresh(google.auth.transport.urllib3.Request(pool))  # type: ignore[no-untyped-call]
        except google.auth.exceptions.GoogleAuthError as error:
            raise ConfigError(
                f"The provider {provider.name!r} got no Google access token ({type(error).__name__}): set "
                "GOOGLE_APPLICATION_CREDENTIALS to a service account file, or log in with gcloud."
            ) from None
        runs_out = credentials.expiry
        return str(credentials.token), math.inf if runs_out is None else _unix(runs_out)


def _google_credentials(provider: Provider) -> Any:
    import google.auth

    if provider.api_key_file:
        credentials, _ = google.auth.load_credentials_from_file(provider.api_key_file, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
    else:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    return credentials


def _by_google(provider: Provider) -> bool:
    """Whether google-auth fetches tokens: for Vertex, unless a variable with an API key is named.

    A key file is then a credentials file: a service account's, or a workload identity's.
    """
    return provider.wire == "vertex" and not provider.api_key_env


def _unix(naive_utc: Any) -> float:
    """google-auth gives its expiry as UTC without a zone."""
    from datetime import UTC

    return float(naive_utc.replace(tzinfo=UTC).timestamp())


def _aws_session_credentials() -> Any:
    import botocore.session

    return botocore.session.Session().get_credentials()


def _signed(call: Call, credentials: Any, region: str) -> Call:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    unsigned = {name: value for name, value in call.headers.items() if name.lower() != "accept-encoding"}
    request = AWSRequest(method=call.method, url=call.url, data=call.body, headers=unsigned)
    SigV4Auth(credentials, "bedrock", region).add_auth(request)
    return replace(call, headers={**call.headers, **dict(request.headers.items())})


def _region_of(url: str) -> str:
    """The region in a Bedrock host's name: ``bedrock-runtime.eu-west-1.amazonaws.com``."""
    host = url.partition("://")[2].partition("/")[0]
    parts = host.split(".")
    return parts[1] if len(parts) > 2 and parts[-2] == "amazonaws" else "us-east-1"


def _read_key(path: str, name: str) -> str:
    try:
        key = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"The key file {path} of the provider {name!r} cannot be read.") from None
    if not key:
        raise ConfigError(f"The key file {path} of the provider {name!r} is empty.")
    return _checked(key, f"the file {path}")


def _checked(key: str, place: str) -> str:
    """A key must fit in one header line."""
    if not key.isascii() or any(character.isspace() or not character.isprintable() for character in key):
        raise ConfigError(f"The key in {place} has spaces or characters that no header can hold; copy it anew.")
    return key
