"""The simulator itself: LLM providers on loopback ports, each with its own keys, limits, weather and books.

    async with Simulator(bad_weather(seed=7)) as simulator:
        simulator.base_url("alpha")       # where a client of this provider is pointed at
        simulator.books()                 # what GET /__books tells

In: a ``SimulatorConfig``. Out: HTTP. Started by the demo, by tests and by ``python -m worker.simulator``. It judges the
product and shares no code with what it judges. Beside the providers' own paths every port answers ``GET /__books``
(``?calls=1``: every recorded call; ``?provider=NAME``) and ``POST /__admin`` with a JSON object: ``provider`` (all if
absent) and any of ``weather``, ``limits``, ``phases``, ``top_up_usd``, ``record_calls``, ``reset_books``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from bucketline.errors import ConfigError
from worker.simulator.bill import usd_of
from worker.simulator.config import ANY_MODEL, SimulatorConfig, WireName
from worker.simulator.delivery import Pause, deliver
from worker.simulator.provider import Arrival, Provider
from worker.simulator.wires.base import Refusal, Trouble
from worker.simulator.wires.models import listing
from worker.simulator.wires.routes import Route, family, route

__all__ = ["Simulator"]

_LARGEST_BODY_BYTES: Final = 256 * 1024 * 1024
_ROUTES_KEPT: Final = 4096
_BACKLOG: Final = 4096
_SHUTDOWN_S: Final = 0.05  #: calls still open when the simulator ends are broken off
_VERSION: Final[dict[WireName, str]] = {WireName.OPENAI: "/v1"}  #: what a client of the wire has in its base address


class Simulator:
    """All providers of one process; an async context manager."""

    def __init__(
        self, config: SimulatorConfig, *, clock_ns: Callable[[], int] = time.monotonic_ns, pause: Pause = asyncio.sleep
    ) -> None:
        """Raises ConfigError where a price or a balance is no number."""
        self.config = config
        self._pause = pause
        self._clock_ns = clock_ns
        self._start_ns = clock_ns()
        self.providers = {
            name: Provider(
                name, provider, config.seed, remember=config.remember, record=config.record_calls, clock_ns=clock_ns
            )
            for name, provider in config.providers.items()
        }
        self._runners: list[web.ServerRunner] = []
        self._roots: dict[str, str] = {}
        self._routes: dict[tuple[str, str], Route | None] = {}

    async def __aenter__(self) -> Self:
        try:
            if self.config.one_port is not None:
                root = await self._listen(None, self.config.one_port)
                self._roots = {name: f"{root}/{name}" for name in self.providers}
            else:
                for name, provider in self.providers.items():
                    self._roots[name] = await self._listen(provider, provider.config.port)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _listen(self, provider: Provider | None, port: int) -> str:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handle(request, provider)

        runner = web.ServerRunner(
            web.Server(handle, request_factory=_request, handler_cancellation=True, access_log=None),
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, self.config.host, port, backlog=_BACKLOG).start()
        except OSError as error:
            raise ConfigError(f"The simulator cannot listen on {self.config.host}:{port}: {error.strerror}.") from None
        return f"http://{self.config.host}:{runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._runners.clear()

    def root_url(self, name: str) -> str:
        """A provider's address without any version in it."""
        return self._roots[name]

    def base_url(self, name: str) -> str:
        """The address that a client of the provider's wire is given: with ``/v1`` on OpenAI's, bare elsewhere."""
        return self._roots[name] + _VERSION.get(self.providers[name].config.wire, "")

    def addresses(self) -> dict[str, Any]:
        """What a process that starts the simulator needs to know, as its first line tells it."""
        return {
            name: {
                "wire": provider.config.wire.value,
                "base_url": self.base_url(name),
                "root_url": self.root_url(name),
                "keys": dict(provider.config.keys),
                "models": _listed(provider),
            }
            for name, provider in self.providers.items()
        }

    def books(self, *, calls: bool = False, only: str | None = None) -> dict[str, Any]:
        """The books of all providers, or of one, with their sums."""
        names = [name for name in self.providers if only in {None, name}]
        meters = [self.providers[name].meter.total for name in names]
        nanousd, lost = sum(sums.nanousd for sums in meters), sum(sums.lost_nanousd for sums in meters)
        totals = {
            "calls": sum(sums.calls for sums in meters), "delivered": sum(sums.delivered for sums in meters),
            "nanousd": nanousd, "usd": usd_of(nanousd), "lost_nanousd": lost, "lost_usd": usd_of(lost),
        }  # fmt: skip
        age_s = (self._clock_ns() - self._start_ns) / 1e9
        providers = {name: self.providers[name].report(calls=calls) for name in names}
        return {"seed": self.config.seed, "age_s": age_s, "totals": totals, "providers": providers}

    def change(self, changes: dict[str, Any]) -> None:
        """The body of ``POST /__admin``. Raises ConfigError."""
        only = changes.get("provider")
        if only is not None and only not in self.providers:
            raise ConfigError(f"There is no provider {only!r} here; there are: {', '.join(self.providers)}.")
        for name, provider in self.providers.items():
            if only in {None, name}:
                provider.change(changes)

    async def _handle(self, request: web.BaseRequest, provider: Provider | None) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        body = await request.read()
        if path.startswith("/__"):
            return self._own_page(request.method, path, query, body)
        if provider is None:
            name, slash, rest = path[1:].partition("/")
            provider, path = self.providers.get(name), slash + rest
            if provider is None:
                return _json(404, {"error": f"There is no provider {name!r} here."})
        if request.method == "GET":
            return _get(request, provider, path)
        found = self._route(path, query)
        if found is None or request.method != "POST":
            return _no_path(request, provider, path)
        visit = provider.visit(Arrival(path, query, request.headers, body, found))
        return await deliver(request, provider, visit, self._pause)

    def _route(self, path: str, query: str) -> Route | None:
        try:
            return self._routes[path, query]
        except KeyError:
            if len(self._routes) >= _ROUTES_KEPT:
                self._routes.clear()
            found = self._routes[path, query] = route(path, query)
            return found

    def _own_page(self, method: str, path: str, query: str, body: bytes) -> web.Response:
        asked = parse_qs(query)
        if method == "GET" and path == "/__books":
            only = asked.get("provider", [None])[0]
            return _json(200, self.books(calls=asked.get("calls") == ["1"], only=only))
        if method == "POST" and path == "/__admin":
            try:
                self.change(_object(body))
            except ConfigError as error:
                return _json(400, {"error": str(error)})
            return _json(200, {"ok": True})
        return _json(404, {"error": "Here are GET /__books and POST /__admin."})


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """A request that may be larger than aiohttp's usual megabyte."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY_BYTES)


def _listed(provider: Provider) -> Sequence[str]:
    return [name for name in provider.config.models if name != ANY_MODEL]


def _get(request: web.BaseRequest, provider: Provider, path: str) -> web.Response:
    if path.endswith("/models"):
        anthropic = "anthropic-version" in request.headers
        gemini = "x-goog-api-key" in request.headers or (path.startswith("/v1beta") and "/openai/" not in path)
        body = listing(_listed(provider), gemini=gemini, anthropic=anthropic)
        return web.Response(body=body, content_type="application/json")
    return _no_path(request, provider, path)


def _no_path(request: web.BaseRequest, provider: Provider, path: str) -> web.Response:
    provider.meter.unrouted += 1
    wire = family(path, anthropic="anthropic-version" in request.headers)
    written = wire.refuse(Refusal(Trouble.NO_PATH))
    return web.Response(status=written.status, body=written.body, content_type="application/json")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError("The body must be a JSON object.")
    return value


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
