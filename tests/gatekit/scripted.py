"""The gate's scripts, driven directly on a clock that only the test moves.

Comes in: any synchronous Redis client, a real server's or fakeredis's. Goes out: what the scripts answer, and a small
fleet: workers that ask, hold and settle as ``worker.limiter.lane`` does, without a loop and without waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from bucketline import keys
from worker.limiter.scopes import scope_keys, script_source

S = 1_000_000  #: microseconds in a second
STANDS_US = 200_000  #: who stands by for longer goes back to the line
START_US = 1_764_000_000 * S


@dataclass(slots=True, eq=False)
class Job:
    """One request of the test: what it asks for, and what it turns out to use."""

    input_tokens: int = 0
    output_tokens: int = 0
    nanousd: int = 0
    purse: int = 0
    came_us: int = 0
    went_us: int = 0
    slot: int = 0
    ended_us: int | None = None
    used: int = 0  #: tokens in all, once settled

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(slots=True)
class Answer:
    verdicts: str
    over_us: int
    again_us: int
    now_us: int
    slot: int
    reason: str
    scope: int
    may_stand: bool


@dataclass
class Fleet:
    """The scripts and their clock."""

    client: Redis
    now_us: int = START_US
    scripts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client.flushall()
        for name in ("admit", "pause", "figures", "lower"):
            self.scripts[name] = self.client.register_script(script_source(name))

    def allow(self, scope: str, **figures: int | str) -> list[bytes]:
        """Configured figures of a scope."""
        return self.write(scope, "cfg", **figures)

    def write(self, scope: str, source: str, **figures: int | str) -> list[bytes]:
        args = [part for pair in figures.items() for part in pair]
        names = [keys.limit_figures(scope), keys.gate_state(scope), keys.SCOPES, keys.LIMIT_CHANGES]
        return self.scripts["figures"](keys=names, args=[scope, source, *args])  # type: ignore[no-any-return]

    def pause(
        self, scope: str, seconds: float, reason: str = "rate_limit", refused: bool = True, holding: int = 0
    ) -> None:
        names = [keys.limit_figures(scope), keys.gate_state(scope), keys.LIMIT_CHANGES]
        args = [self.now_us, round(seconds * S), reason, "1" if refused else "", holding]
        self.scripts["pause"](keys=names, args=args)

    def lower(self, scope: str, figure: str, letter: str, left: int) -> None:
        names = [keys.limit_figures(scope), keys.gate_state(scope)]
        self.scripts["lower"](keys=names, args=[figure, letter, left])

    def state(self, scope: str, field_: str) -> int | None:
        value = self.client.hget(keys.gate_state(scope), field_)
        return None if value is None else int(value)  # type: ignore[arg-type]

    def pass_s(self, seconds: float) -> None:
        self.now_us += round(seconds * S)


class Worker:
    """One lane of one worker: jobs wait in order, some are in flight, settlements ride along with the next ask."""

    def __init__(self, fleet: Fleet, name: str, *scopes: str, budgets: tuple[str, ...] = (), priority: int = 0) -> None:
        self.fleet, self.name, self.scopes, self.budgets, self.priority = fleet, name, scopes, budgets, priority
        self.waiting: list[Job] = []
        self.flying: list[Job] = []
        self.standing: list[tuple[Job, int]] = []  #: granted ahead of a place, and until when, microseconds
        self.places = 0  #: calls in flight that the script counts for this lane
        self.settled: dict[int, list[int]] = {}
        self.money = 0
        self.sequence = 0
        self.reset_us = START_US + 86_400 * S
        self.dropped: list[Job] = []

    def add(self, *jobs: Job) -> None:
        for job in jobs:
            job.came_us = self.fleet.now_us
            self.waiting.append(job)

    def ask(self, most: int = 256, more: int = 0) -> Answer:
        """One call of the admission script, and what follows from it; ``more`` may stand by beside those who do."""
        self.sequence += 1
        self._take_back(self.fleet.now_us)
        block = self.waiting[:most]
        names = [*self.scopes, *self.budgets]
        age_us = max(0, self.fleet.now_us - block[0].came_us) if block else 0
        held = self.places = len(self.flying)
        words = [f"{held} {self.reset_us} 0"] * len(self.scopes) + [f"{held} {2**53 - 1} {self.money}"] * len(
            self.budgets
        )
        raw = self.fleet.scripts["admit"](
            keys=[key for name in names for key in scope_keys(name)],
            args=[
                self.fleet.now_us,
                self.name,
                len(self.waiting) + len(self.standing),
                f"{self.sequence} {len(names)} {len(self.scopes)} {self.priority} {age_us} {len(self.standing)} {more}",
                " ".join(words),
                " ".join(f"{slot} {' '.join(map(str, sums))}" for slot, sums in self.settled.items()),
                " ".join(f"{j.input_tokens} {j.output_tokens} {j.nanousd} {j.purse}" for j in block),
            ],
        )
        if raw[0] == b"unknown":
            raise KeyError(raw[1])
        self.settled, self.money = {}, 0
        answer = Answer(raw[0].decode(), *raw[1:5], raw[5].decode(), raw[6], bool(raw[7]))
        stay = []
        for job, verdict in zip(block, answer.verdicts, strict=False):
            if verdict in "ga":
                job.slot = answer.slot
                self.places += verdict == "g"
                self.standing.append((job, self.fleet.now_us + STANDS_US))
            else:
                (self.dropped if verdict == "x" else stay).append(job)
        self.waiting = stay + self.waiting[len(answer.verdicts) :]
        self._hand_on()
        if not answer.may_stand:
            self._take_back(2**62)
        return answer

    def _hand_on(self) -> None:
        """Who stands by has the places that are free here, in order."""
        while self.standing and len(self.flying) < self.places and self.standing[0][1] > self.fleet.now_us:
            job, _ = self.standing.pop(0)
            job.went_us = self.fleet.now_us
            self.flying.append(job)

    def _take_back(self, now_us: int) -> None:
        """Who has stood by for too long waits again, first."""
        back = [job for job, until_us in self.standing if until_us <= now_us]
        self.standing = self.standing[len(back) :]
        for job in back:
            self._note(job, -1, -job.input_tokens, 0, -job.nanousd)
        self.waiting = back + self.waiting

    def settle(self, job: Job, output_tokens: int | None = None, nanousd: int | None = None) -> None:
        """The call is over; its input was estimated rightly."""
        used = job.output_tokens if output_tokens is None else output_tokens
        self._end(job, 0, 0, used, 0 if nanousd is None else nanousd - job.nanousd)
        job.used = job.input_tokens + used

    def give_back(self, job: Job) -> None:
        self._end(job, -1, -job.input_tokens, 0, -job.nanousd)
        job.used = 0

    def _end(self, job: Job, requests: int, input_: int, used: int, money: int) -> None:
        self.flying.remove(job)
        job.ended_us = self.fleet.now_us
        self._note(job, requests, input_, used, money)
        self._hand_on()

    def _note(self, job: Job, requests: int, input_: int, used: int, money: int) -> None:
        sums = self.settled.setdefault(job.slot, [0, 0, 0, 0, 0])
        for place, amount in enumerate((requests, input_, job.output_tokens, used, 1)):
            sums[place] += amount
        self.money += money
