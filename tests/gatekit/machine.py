"""Any interleaving of requests, settlements, releases, pauses, deaths and clock steps keeps the gate's promises.

Hypothesis draws the steps; after each grant the log of what really went is compared with every limit, in the time that
really passed, which the server's clock need not agree with. At the end everything still waiting must go.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.gatekit.scripted import Fleet, Job, S, Worker

RPM, TPM, OUTPUT_TPM, CONCURRENCY = 60, 6_000, 3_000, 3
SIZES = st.one_of(st.just(0), st.integers(1, 100), st.integers(0, 2_500))
HOLD_S = 5.0
FRESH_S = 2.0
HEARTBEAT_S = 5.0


@dataclass(slots=True)
class Entry:
    """A job that went, in true seconds."""

    job: Job
    went_s: float
    ended_s: float | None = None
    gone: bool = False  #: given back: it counts nowhere


class GateMachine(RuleBasedStateMachine):
    """Three lanes of two priorities on one scope; ``fleet`` is made by the subclass."""

    def make_fleet(self) -> Fleet:
        raise NotImplementedError

    @initialize()
    def set_up(self) -> None:
        self.fleet = self.make_fleet()
        self.fleet.allow("a", rpm=RPM, tpm=TPM, output_tpm=OUTPUT_TPM, concurrency=CONCURRENCY)
        self.workers = [Worker(self.fleet, name, "a", priority=rank) for name, rank in (("x", 0), ("y", 0), ("z", 1))]
        self.true_s = 0.0
        self.paused_until_s = 0.0
        self.log: list[Entry] = []
        self.blocked: dict[str, float] = {}  #: who was told to wait, and when it last asked, true seconds

    @rule(who=st.integers(0, 2), count=st.integers(1, 25), input_=SIZES, output=SIZES)
    def want(self, who: int, count: int, input_: int, output: int) -> None:
        self.workers[who].add(*(Job(input_, output) for _ in range(count)))

    @rule(who=st.integers(0, 2), input_=st.integers(6_001, 12_000))
    def want_more_than_the_limit(self, who: int, input_: int) -> None:
        self.workers[who].add(Job(input_, 0))

    @rule(seconds=st.floats(5, 80), tick_s=st.floats(0.1, 3), seed=st.integers(0, 2**16))
    def busy_spell(self, seconds: float, tick_s: float, seed: int) -> None:
        """Everybody asks and settles, in any order, for a while."""
        dice = random.Random(seed)
        until_s = self.true_s + seconds
        while self.true_s < until_s:
            for who in dice.sample(range(3), 3):
                if dice.random() < 0.8:
                    self._ask(who, dice.randrange(4))
            for entry in [entry for entry in self.log if entry.ended_s is None]:
                if dice.random() < min(1.0, tick_s):
                    self._settle(entry, dice.random())
            self._pass(tick_s)

    @rule(who=st.integers(0, 2), more=st.integers(0, 3))
    def ask(self, who: int, more: int) -> None:
        self._ask(who, more)

    def _ask(self, who: int, more: int) -> None:
        worker = self.workers[who]
        before = set(map(id, worker.flying))
        first_came_us = worker.waiting[0].came_us if worker.waiting else 0
        rivals = self._rivals(worker, first_came_us)
        answer = worker.ask(more=more)
        went = [job for job in worker.flying if id(job) not in before]
        assert not (rivals and "a" in answer.verdicts), "nobody stands by before somebody who waits"
        assert not (went and rivals), "somebody with an older request, or a higher priority, was waiting"
        assert not (went and self.true_s < self.paused_until_s - 0.01), "nobody goes during a pause"
        for job in went:
            self._check(job)
        self.blocked.pop(worker.name, None)
        if worker.waiting:
            self.blocked[worker.name] = self.true_s

    @precondition(lambda self: any(entry.ended_s is None for entry in self.log))
    @rule(pick=st.integers(0, 1000), share=st.floats(0, 1))
    def settle(self, pick: int, share: float) -> None:
        """The call is over; estimates are upper bounds here, since only those keep a window by themselves."""
        self._settle(self._flying(pick), share)

    @precondition(lambda self: any(entry.ended_s is None for entry in self.log))
    @rule(pick=st.integers(0, 1000))
    def give_back(self, pick: int) -> None:
        entry = self._flying(pick)
        worker = self._holder(entry)
        worker.give_back(entry.job)
        entry.ended_s, entry.gone = self.true_s, True
        self._check_who_stood_by(worker)

    @rule(seconds=st.one_of(st.floats(0, 0.5), st.floats(0, 20), st.just(61.0)))
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)

    @rule(seconds=st.floats(0, 30))
    def pause(self, seconds: float) -> None:
        self.fleet.pause("a", seconds, refused=False)
        self.paused_until_s = max(self.paused_until_s, self.true_s + seconds)

    @rule(seconds=st.floats(1.001, 7_200))
    def server_clock_goes_back(self, seconds: float) -> None:
        self.fleet.pass_s(-seconds)
        for worker in self.workers:
            worker.standing = [(job, until_us - round(seconds * S)) for job, until_us in worker.standing]
            for job in (*worker.waiting, *(job for job, _ in worker.standing)):
                job.came_us -= round(seconds * S)  # ages are measured by the workers' own monotonic clocks
        self.blocked.clear()

    @rule(who=st.integers(0, 2))
    def worker_dies(self, who: int) -> None:
        """What it had sent counts on; what it held is free after its lease."""
        worker = self.workers[who]
        for entry in self.log:
            if entry.ended_s is None and self._holder(entry) is worker:
                entry.ended_s = self.true_s
                entry.job.used = entry.job.tokens
        self.workers[who] = Worker(self.fleet, f"{worker.name}'", "a", priority=worker.priority)
        self.blocked.pop(worker.name, None)
        self._pass(16)

    @invariant()
    def no_more_in_flight_than_allowed(self) -> None:
        if hasattr(self, "workers"):
            assert sum(len(worker.flying) for worker in self.workers) <= CONCURRENCY

    def teardown(self) -> None:
        """Nothing waits for ever: everything that is still waiting goes, in bounded time."""
        if not hasattr(self, "workers"):
            return
        for worker in self.workers:
            worker.ask(0)
        tokens = sum(job.tokens for worker in self.workers for job in worker.waiting)
        jobs = sum(len(worker.waiting) + len(worker.standing) for worker in self.workers)
        bound_s = (
            200 + 4 * 60 * (tokens / OUTPUT_TPM + jobs / RPM) + max(0.0, self.paused_until_s - self.true_s) + 62 * jobs
        )
        until_s = self.true_s + bound_s
        while any(worker.waiting or worker.standing for worker in self.workers):
            for worker in self.workers:
                for job in list(worker.flying):
                    worker.settle(job)
                answer = worker.ask()
                assert self.true_s < until_s, f"somebody waits for ever: {answer}"
            self._pass(0.9)

    # ── the truth ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _pass(self, seconds: float) -> None:
        """Time goes by; who has calls in flight says so, as every lane does, else its lease would run out."""
        while seconds > HEARTBEAT_S:
            self._tick(HEARTBEAT_S)
            seconds -= HEARTBEAT_S
            for worker in self.workers:
                if worker.flying:
                    worker.ask(0)
        self._tick(seconds)

    def _tick(self, seconds: float) -> None:
        micros = round(seconds * S)
        self.fleet.now_us += micros
        self.true_s += micros / S

    def _flying(self, pick: int) -> Entry:
        entries = [entry for entry in self.log if entry.ended_s is None]
        return entries[pick % len(entries)]

    def _holder(self, entry: Entry) -> Worker:
        return next(worker for worker in self.workers if any(job is entry.job for job in worker.flying))

    def _settle(self, entry: Entry, share: float) -> None:
        worker = self._holder(entry)
        worker.settle(entry.job, output_tokens=int(entry.job.output_tokens * share))
        entry.ended_s = self.true_s
        self._check_who_stood_by(worker)

    def _check_who_stood_by(self, worker: Worker) -> None:
        known = {id(entry.job) for entry in self.log}
        for job in worker.flying:
            if id(job) not in known:
                self._check(job)

    def _rivals(self, worker: Worker, came_us: int) -> list[str]:
        """Who still asks, and comes before the worker: by priority, then by its first request's arrival in ms."""
        return [
            other.name
            for other in self.workers
            if other is not worker
            and other.waiting
            and self.true_s - self.blocked.get(other.name, -9.0) <= FRESH_S - 0.01
            and (other.priority, -(other.waiting[0].came_us // 1000)) > (worker.priority, -(came_us // 1000))
        ]

    def _check(self, job: Job) -> None:
        """The request has just gone: every window that ends now keeps its limit."""
        self.log.append(Entry(job, self.true_s))
        recent = [e for e in self.log if not e.gone and self.true_s - e.went_s < 60]
        assert len(recent) <= RPM
        if job.tokens > 0:
            begun = sum(self._now(e) for e in recent)
            assert begun <= max(TPM, job.tokens), "counted when calls begin; larger than the limit goes alone"
        if job.output_tokens > 0:
            ended = sum(self._now(e) - e.job.input_tokens for e in self.log if not e.gone and self._ends_in_window(e))
            assert ended <= max(OUTPUT_TPM, job.output_tokens), "counted when calls end"

    def _ends_in_window(self, entry: Entry) -> bool:
        """Whether a provider that counts output at the end sees it in the last minute; long calls within reason."""
        end_s = self.true_s if entry.ended_s is None else entry.ended_s
        return self.true_s - min(end_s, entry.went_s + HOLD_S) < 60

    @staticmethod
    def _now(entry: Entry) -> int:
        return entry.job.tokens if entry.ended_s is None else entry.job.used
