"""The circuits of one process: how each stands as far as it knows, and what it has not told Redis yet.

Comes in: what calls showed, and every few tenths of a second the fleet's answer. Goes out: the state of a circuit at
once, without asking anybody. ``health`` decides by it and keeps it in step; this file knows no routes and no lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bucketline import keys
from worker.logs import logger

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Circuit", "Circuits", "Pauses"]

_log = logger(__name__)

WINDOW_MS = 10_000  #: failures are counted over this long
OPENS_AFTER = 5  #: so many failures in a row here, or in the window and more than answers, open a circuit
MILD = 4  #: a failure that may be the line's own counts so many times less: a 500 for one line is no outage
MISSING_MS = 60_000  #: a route without the model, or without our right to it, is looked at again after this
PROBE_LIFE_MS = 120_000  #: a probe that has not come back by then is given to another


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long a failing circuit stays open before a probe: doubling from the first to the longest."""

    first_ms: int = 1_000
    longest_ms: int = 60_000


@dataclass(slots=True)
class Circuit:
    """One circuit. ``state`` is "closed", "open", or "probe": a call that tries it out may leave, and is ours."""

    state: str = "closed"
    kind: str = ""
    open_for_ms: int = 0  #: since it opened, when the fleet last answered
    answered: int = 0  #: weight of the calls that were answered
    failed: int = 0  #: and of those that were not
    opened_by: str = ""
    opened_for_ms: int = 0  #: 0: until an operator resumes it, or for the first pause where it is merely failing
    probed: str = ""
    in_a_row: int = 0  #: weight of the failures since the last answer, here
    missed: int = 0  #: calls in a row that found no such model, here
    wanted: int = 0  #: lines that wait for it
    passed_over: bool = False  #: a line went past it to a later route

    @property
    def untold(self) -> bool:
        return bool(self.answered or self.failed or self.opened_by or self.probed)

    def count(self, *, failed: bool, mildly: bool = False) -> bool:
        """Take an ordinary call; True when it has opened the circuit.

        Failures in a row tell at once that a route has died, however many answers it gave just before; the fleet's
        window tells of one that fails half of its calls.
        """
        weight = 1 if mildly else MILD
        self.answered += 0 if failed else MILD
        self.failed += weight if failed else 0
        self.missed = 0
        self.in_a_row = self.in_a_row + weight if failed else 0
        if self.state != "closed" or self.in_a_row < MILD * OPENS_AFTER:
            return False
        self.open("failing", 0)
        return True

    def miss(self, kind: str) -> bool:
        """Take a call that found no such model, or no right to it; True when that was enough to open the circuit."""
        self.missed += 1
        if self.state != "closed" or self.missed < OPENS_AFTER:
            return False
        self.open(kind, MISSING_MS)
        return True

    def open(self, kind: str, for_ms: int) -> None:
        """Open it here and now; the fleet hears of it next. ``for_ms`` is as ``opened_for_ms``."""
        self.state, self.kind, self.in_a_row, self.missed = "open", kind, 0, 0
        self.opened_by, self.opened_for_ms = kind, for_ms

    def words(self) -> tuple[Any, ...]:
        """What the script is told: the six of ``health.lua``."""
        if self.state == "probe" and not self.probed:
            self.state, self.probed = "open", "back"  # nobody took it: another process may
        wanted = int(self.wanted > 0 or self.passed_over)
        self.passed_over = False
        return (self.answered, self.failed, self.opened_by, self.opened_for_ms, self.probed, wanted)


@dataclass(slots=True)
class Circuits:
    """All circuits that this process has met."""

    redis: Redis
    pauses: Pauses
    by_name: dict[str, Circuit] = field(default_factory=dict)
    _script: Callable[..., Any] | None = None

    def __getitem__(self, name: str) -> Circuit:
        circuit = self.by_name.get(name)
        if circuit is None:
            circuit = self.by_name[name] = Circuit()
        return circuit

    def states(self, names: Sequence[str]) -> list[Circuit]:
        """Those of the named circuits that are not closed."""
        standing = []
        for name in names:
            circuit = self.by_name.get(name)
            if circuit is not None and circuit.state != "closed":
                standing.append(circuit)
        return standing

    async def speak(self) -> bool:
        """Tell Redis what is new and learn how the circuits stand; True when any lets calls through that did not.

        Raises RedisError and OSError; what was to be told is kept then.
        """
        asked = {n: c for n, c in self.by_name.items() if c.untold or c.wanted or c.state != "closed"}
        if not asked:
            return False
        if self._script is None:
            text = files("worker").joinpath("health.lua").read_text(encoding="utf-8")
            self._script = self.redis.register_script(text)
        args: list[Any] = [
            WINDOW_MS,
            MILD * OPENS_AFTER,
            self.pauses.first_ms,
            self.pauses.longest_ms,
            max(PROBE_LIFE_MS, self.pauses.longest_ms),
        ]
        told = {name: circuit.words() for name, circuit in asked.items()}
        for words in told.values():
            args += words
        answers = await self._script(keys=[keys.circuit(name) for name in asked], args=args)
        freed = False
        for (name, circuit), (state, kind, _, age_ms) in zip(asked.items(), answers, strict=True):
            freed |= _learn(name, circuit, told[name], state.decode(), kind.decode())
            circuit.open_for_ms = int(age_ms)
        return freed


def _learn(name: str, circuit: Circuit, told: tuple[Any, ...], state: str, kind: str) -> bool:
    answered, failed, opened_by, _, probed, _ = told
    circuit.answered -= answered
    circuit.failed -= failed
    circuit.probed = "" if circuit.probed == probed else circuit.probed
    if circuit.opened_by != opened_by:
        return False  # it was opened here meanwhile: the answer is older than that
    circuit.opened_by = ""
    before, circuit.state, circuit.kind = circuit.state, state, kind
    if state == "closed" and before != "closed":
        _log.info("circuit_closed", circuit=name)
    elif state != "closed" and before == "closed":
        _log.warning("circuit_opened", circuit=name, kind=kind)
    return state not in ("open", before)
