"""Which routes may be used: circuits shared by the fleet.

Comes in: what each call showed about its route. Goes out: the route a line may take now, or a wait until there is one.
A process notes failures where it stands and tells Redis a few times a second, in one script for all its circuits; so a
provider that is down costs the fleet a handful of calls. An open circuit lets one probe through when its pause is over;
a probe's failure opens it for longer and counts against no line. Called by ``dispatch``; which failures count is said by
the rows of ``bucketline.failure``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.catalog import Route
from bucketline.failure import Effect, Failure, Kind, Wait
from worker.logs import logger
from worker.resets import next_reset_s

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Health", "Pass"]

_log = logger(__name__)

WINDOW_MS = 10_000  #: failures are counted over this long
OPENS_AFTER = 5  #: so many failures in the window, and no fewer than answers, open a circuit
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 1_000, 60_000
PROBE_LIFE_MS = 120_000  #: a probe that has not come back by then is given to another
_LOOK_S = 0.4


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave to call a route. ``probes`` names the circuits that this call tries out; empty for an ordinary call."""

    index: int
    route: Route
    probes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Circuit:
    """One circuit as this process knows it, and what it has not told Redis yet."""

    state: str = "closed"
    kind: str = ""
    answered: int = 0
    failed: int = 0
    opened_by: str = ""
    opened_for_ms: int = 0
    probed: str = ""
    wanted: int = 0  #: lines that wait for it

    @property
    def untold(self) -> bool:
        return bool(self.answered or self.failed or self.opened_by or self.probed)


@dataclass(slots=True)
class Health:
    """The circuits of one process."""

    redis: Redis
    clock: Callable[[], float]
    parked: int = 0  #: lines that wait for a route at the moment
    _circuits: dict[str, _Circuit] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tell: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="health")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take(self, routes: Sequence[Route], tried: frozenset[int]) -> Pass | None:
        """The first route, in order, that is not in ``tried`` and whose circuits let a call through; else None."""
        if not self._circuits:
            return next((Pass(n, route) for n, route in enumerate(routes) if n not in tried), None)
        for index, route in enumerate(routes):
            if index in tried:
                continue
            own = [self._circuits.get(name) for name in _names(route)]
            if all(circuit is None or circuit.state == "closed" for circuit in own):
                return Pass(index, route)
            if all(circuit is None or circuit.state in ("closed", "probe") for circuit in own):
                return self._probe(index, route)
        return None

    async def wait(self, routes: Sequence[Route], tried: frozenset[int]) -> Pass:
        """As ``take``, but waits until a route lets a call through."""
        waited = [name for i, route in enumerate(routes) if i not in tried for name in _names(route)]
        while (found := self.take(routes, tried)) is None:
            self.parked += 1
            circuits = [self._circuits.setdefault(name, _Circuit()) for name in waited]
            for circuit in circuits:
                circuit.wanted += 1
            self._tell.set()
            try:
                await self._changed.wait()
            finally:
                self.parked -= 1
                for circuit in circuits:
                    circuit.wanted -= 1
        return found

    def is_closed(self, given: Pass) -> bool:
        """Whether the route has closed to ordinary calls since this leave was given."""
        if not self._circuits or given.probes:
            return False
        own = (self._circuits.get(name) for name in _names(given.route))
        return any(circuit is not None and circuit.state != "closed" for circuit in own)

    def closed_for_good(self, routes: Sequence[Route], tried: frozenset[int]) -> Kind | None:
        """Why an operator must act before any route left can be used; None while one of them may open by itself."""
        kinds = [self._operator_kind(route) for n, route in enumerate(routes) if n not in tried]
        return kinds[0] if kinds and None not in kinds else None

    def _operator_kind(self, route: Route) -> Kind | None:
        for name in _names(route):
            circuit = self._circuits.get(name)
            if circuit is not None and circuit.state != "closed" and circuit.kind in _OPERATOR_KINDS:
                return Kind(circuit.kind)
        return None

    def saw(self, given: Pass, failure: Failure | None) -> None:
        """Note what a call showed. An answer of any kind that is not the route's fault counts as well."""
        route = given.route
        hurts = failure is not None and failure.row.hurts_health
        for name in given.probes:
            self._circuit(name).probed = "failed" if hurts else "ok"
        if failure is not None and failure.row.effect is Effect.CLOSE:
            self._open(route.provider.name, failure.kind, route.provider.recheck_s or 0.0)
        elif failure is not None and failure.row.wait is Wait.DAY:
            limits = route.provider.limits
            until_s = next_reset_s(self.clock(), limits.reset_hour, limits.reset_zone)
            self._open(route.provider.name, failure.kind, until_s - self.clock())
        elif not given.probes:
            circuit = self._circuit(route.name)
            circuit.failed += hurts
            circuit.answered += not hurts
            if circuit.failed >= OPENS_AFTER and circuit.failed >= circuit.answered:
                self._tell.set()
        if given.probes:
            self._tell.set()

    def lost(self, given: Pass) -> None:
        """A call ended without showing anything; its probe is given to another."""
        for name in given.probes:
            self._circuit(name).probed = "failed"

    def _open(self, name: str, kind: Kind, for_s: float) -> None:
        circuit = self._circuit(name)
        if circuit.state == "closed":
            _log.warning("circuit_opened", circuit=name, kind=kind.value)
        circuit.state, circuit.kind = "open", kind.value
        circuit.opened_by, circuit.opened_for_ms = kind.value, int(for_s * 1000)
        self._tell.set()

    def _probe(self, index: int, route: Route) -> Pass:
        probes = tuple(name for name in _names(route) if self._circuit(name).state == "probe")
        for name in probes:
            self._circuit(name).state = "open"
        return Pass(index, route, probes)

    def _circuit(self, name: str) -> _Circuit:
        circuit = self._circuits.get(name)
        if circuit is None:
            circuit = self._circuits[name] = _Circuit()
        return circuit

    async def _run(self) -> None:
        script = self.redis.register_script(files("worker").joinpath("health.lua").read_text(encoding="utf-8"))
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._tell.wait()
            except TimeoutError:
                pass
            self._tell.clear()
            await self._speak(script)
            if self.parked:
                await asyncio.sleep(_LOOK_S / 4)  # waiting lines ask again at once; Redis is not asked more often

    async def _speak(self, script: Callable[..., object]) -> None:
        """Tell Redis what is new, learn how the circuits stand, wake the lines that wait."""
        asked = {n: c for n, c in self._circuits.items() if c.untold or c.wanted or c.state != "closed"}
        if not asked:
            return
        args: list[object] = [WINDOW_MS, OPENS_AFTER, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, PROBE_LIFE_MS]
        for circuit in asked.values():
            args += [
                circuit.answered,
                circuit.failed,
                circuit.opened_by,
                circuit.opened_for_ms,
                circuit.probed,
                int(circuit.wanted > 0 or circuit.state == "closed"),
            ]
        told = {name: (c.answered, c.failed, c.opened_by, c.probed) for name, c in asked.items()}
        try:
            answers = await script(keys=[keys.circuit(name) for name in asked], args=args)  # type: ignore[misc]
        except (RedisError, OSError) as error:
            _log.warning("redis_away", error=type(error).__name__)
            return
        for (name, circuit), answer in zip(asked.items(), answers, strict=True):
            self._learn(name, circuit, told[name], answer[0].decode(), answer[1].decode())
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _learn(self, name: str, circuit: _Circuit, told: tuple[int, int, str, str], state: str, kind: str) -> None:
        answered, failed, opened_by, probed = told
        circuit.answered -= answered
        circuit.failed -= failed
        circuit.opened_by = "" if circuit.opened_by == opened_by else circuit.opened_by
        circuit.probed = "" if circuit.probed == probed else circuit.probed
        if state != "closed" and circuit.state == "closed" and not opened_by:
            _log.warning("circuit_opened", circuit=name, kind=kind)
        elif state == "closed" and circuit.state != "closed":
            _log.info("circuit_closed", circuit=name)
        circuit.state, circuit.kind = state, kind


_OPERATOR_KINDS = frozenset({Kind.ACCOUNT_EXHAUSTED.value, Kind.BAD_KEY.value})


def _names(route: Route) -> tuple[str, str]:
    """The circuits of a route: the account's and its own."""
    return (route.provider.name, route.name)
