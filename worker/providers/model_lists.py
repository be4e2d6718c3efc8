"""Asking a provider which models it has.

Comes in: a provider and its key; then the reply. Goes out: the call, and the names, as a route would write them. No
I/O here either; for ``doctor``. Bedrock's list lies behind another service and is not asked for, nor is Vertex's,
which has no list of what a project may use.
"""

from __future__ import annotations

from typing import Any

from bucketline.catalog import Provider
from bucketline.failure import Failure
from bucketline.splice import loads
from worker.providers.base import ACCEPT_ENCODING, Call, Reply
from worker.providers.errors import not_json, refusal
from worker.providers.google_hosts import google_headers
from worker.providers.quirks import quirks_of

__all__ = ["list_call", "read_list"]

_ANTHROPIC_VERSION = "2023-06-01"


def list_call(provider: Provider, key: str) -> Call | None:
    """The call that lists models; None where the provider has no such list."""
    base = provider.base_url
    match provider.wire:
        case "openai":
            quirks = quirks_of(provider.preset, base)
            bare = {quirks.key_header: key} if quirks.key_header else {"Authorization": f"Bearer {key}"}
            return _get(f"{base}/models", bare if key else {}, provider)
        case "anthropic":
            root = base if base.endswith("/v1") else f"{base}/v1"
            headers = {"x-api-key": key, "anthropic-version": provider.api_version or _ANTHROPIC_VERSION}
            return _get(f"{root}/models?limit=1000", headers, provider)
        case "gemini":
            root = base if base.endswith(("/v1", "/v1beta")) else f"{base}/v1beta"
            return _get(f"{root}/models?pageSize=1000", google_headers(provider, key, "", vertex=False), provider)
        case _:
            return None


def _get(url: str, headers: dict[str, str], provider: Provider) -> Call:
    return Call(url, {"Accept-Encoding": ACCEPT_ENCODING, **headers, **provider.headers}, b"", method="GET")


def read_list(reply: Reply, *, key: str = "") -> tuple[str, ...] | Failure:
    """The names in a list of models: ``data[].id`` (OpenAI, Anthropic) or ``models[].name`` (Google)."""
    try:
        document = loads(reply.body)
    except ValueError:
        return not_json(reply)
    if reply.status >= 300:
        return refusal(reply, document, key=key, line_body=b"", model="")
    listed: Any = document.get("data") or document.get("models") if isinstance(document, dict) else document
    names = [entry.get("id") or entry.get("name") for entry in listed or () if isinstance(entry, dict)]
    return tuple(sorted({name.removeprefix("models/") for name in names if isinstance(name, str)}))
