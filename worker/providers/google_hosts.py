"""Where Google's models live and which header takes the key.

Comes in: a route, the method and the key. Goes out: the address and the headers. Gemini API: one host, an API key.
Vertex: the global host, a region's or a multi-region's, an OAuth token; or without a project the express mode, with an
API key. Called by the ``gemini`` adapter.
"""

from __future__ import annotations

from urllib.parse import quote

from bucketline.catalog import Provider, Route
from worker.providers.base import ACCEPT_ENCODING

__all__ = ["address", "google_headers"]

_MULTI_REGIONS = frozenset({"us", "eu"})


def address(route: Route, method: str, key: str, *, vertex: bool) -> str:
    """The url of a method of the route's model."""
    model = quote(route.model.removeprefix("models/"), safe="")
    if not vertex:
        base = route.provider.base_url
        version = "" if base.endswith(("/v1", "/v1beta", "/v1alpha")) else "/v1beta"
        return f"{base}{version}/models/{model}:{method}"
    return f"{_vertex_base(route.provider, key)}/publishers/google/models/{model}:{method}"


def _vertex_base(provider: Provider, key: str) -> str:
    location = provider.region or "global"
    host = provider.base_url or _vertex_host(location)
    root = host if host.endswith(("/v1", "/v1beta1")) else f"{host}/v1"
    if not provider.project and not is_token(key):
        return root
    return f"{root}/projects/{quote(provider.project or '-', safe='')}/locations/{quote(location, safe='')}"


def _vertex_host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def is_token(key: str) -> bool:
    """Whether a key of Vertex is an access token, not an API key."""
    return bool(key) and not key.startswith(("AIza", "AQ."))


def google_headers(provider: Provider, key: str, request_id: str, *, vertex: bool) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPT_ENCODING}
    if key and vertex and is_token(key):
        headers["Authorization"] = f"Bearer {key}"
        if provider.project:
            headers["x-goog-user-project"] = provider.project
    elif key:
        headers["x-goog-api-key"] = key
    if request_id:
        headers["X-Client-Request-Id"] = request_id
    headers.update(provider.headers)
    return headers
