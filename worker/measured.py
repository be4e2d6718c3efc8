"""What this process's calls show of each route, shared by the fleet through Redis.

Comes in: each ended call. Goes out: latency and success of a route, decayed, for the ``fastest`` policy; whether its
answers reason. Calls are summed up here and told a few times a minute, one script for all routes, which answers the
fleet's sums; so a process knows of routes it has not called. Called by ``dispatch``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.catalog import Route
from bucketline.failure import Failure
from bucketline.measured import HALF_LIFE_S, Measured, bucket_of, measured_of
from bucketline.usage import Usage
from worker.logs import logger
from worker.routing import RouteFacts
from worker.tasks import end_tasks

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Measurements"]

_log = logger(__name__)

TELL_S = 5.0
_KEPT_S = 7 * 24 * 3600
_REASONS = 0.2  #: from this share of reasoning in the output on, calls are long and dear


@dataclass(slots=True)
class _Sums:
    """One route: what the fleet said last, and what it has not been told yet."""

    fleet: dict[str, float] = field(default_factory=dict)
    fresh: dict[str, float] = field(default_factory=dict)
    known: Measured | None = None  #: of both; None after a change

    def add(self, name: str, value: float) -> None:
        self.fresh[name] = self.fresh.get(name, 0.0) + value

    def measured(self) -> Measured:
        if self.known is None:
            names = self.fleet.keys() | self.fresh.keys()
            self.known = measured_of({n: self.fleet.get(n, 0.0) + self.fresh.get(n, 0.0) for n in names})
        return self.known


class Measurements:
    """The routes that this process has called or was asked about."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._routes: dict[str, _Sums] = {}
        self._task: asyncio.Task[None] | None = None
        self._script: Callable[..., Any] = redis.register_script(
            files("worker").joinpath("measured.lua").read_text(encoding="utf-8")
        )

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="measured")

    async def close(self) -> None:
        """Tell what is new, then stop."""
        if self._task is not None:
            await end_tasks(self._task)
            await self.tell()

    def note(self, route: Route, latency_s: float, usage: Usage | None, failure: Failure | None) -> None:
        """Take one ended call. A failure that is not the route's fault says nothing about the route."""
        if failure is not None and not failure.row.hurts_health:
            return
        sums = self._sums(route.name)
        sums.known = None
        if failure is not None:
            sums.add("failed", 1)
            return
        fresh, bucket = sums.fresh, f"l{bucket_of(latency_s)}"
        fresh["answered"] = fresh.get("answered", 0.0) + 1
        fresh["seconds"] = fresh.get("seconds", 0.0) + latency_s
        fresh[bucket] = fresh.get(bucket, 0.0) + 1
        if usage is not None:
            fresh["output"] = fresh.get("output", 0.0) + usage.output_tokens
            if usage.reasoning_tokens:
                fresh["reasoning"] = fresh.get("reasoning", 0.0) + usage.reasoning_tokens

    def facts(self, route: Route, likely_nanousd: int | None) -> RouteFacts:
        """What routing may know of a route."""
        measured = self._sums(route.name).measured()
        return RouteFacts(likely_nanousd, measured.latency_s, measured.success)

    def reasons(self, route: Route) -> bool:
        """Whether the route's answers were found to hold much reasoning."""
        sums = self._routes.get(route.name)
        return sums is not None and (sums.measured().reasoning_share or 0.0) >= _REASONS

    async def tell(self) -> None:
        """One round trip: what is new goes out, what the fleet knows comes in."""
        if not self._routes:
            return
        names = list(self._routes)
        args: list[Any] = [int(HALF_LIFE_S * 1000), _KEPT_S * 1000]
        told = {}
        for name in names:
            fresh = told[name] = self._routes[name].fresh
            self._routes[name].fresh = {}
            args += [len(fresh), *(item for pair in fresh.items() for item in pair)]
        try:
            answers = await self._script(keys=[keys.measured(name) for name in names], args=args)
        except (RedisError, OSError) as error:
            _log.warning("redis_away", error=type(error).__name__)
            for name, fresh in told.items():
                for field_name, value in fresh.items():
                    self._routes[name].add(field_name, value)
            return
        for name, answer in zip(names, answers, strict=True):
            sums = self._routes[name]
            sums.fleet = {k.decode(): float(v) for k, v in zip(answer[::2], answer[1::2], strict=True)}
            sums.known = None

    def _sums(self, name: str) -> _Sums:
        sums = self._routes.get(name)
        if sums is None:
            sums = self._routes[name] = _Sums()
        return sums

    async def _run(self) -> None:
        while True:
            await self.tell()
            await asyncio.sleep(TELL_S)
