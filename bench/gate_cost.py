"""What the gate takes of a worker's CPU at 1,000 requests a second: the whole worker, nothing left out.

    python -m bench.gate_cost [LINES]

A batch goes through the product's own worker process, against a provider that costs nothing, under limits of requests,
tokens and calls in flight; that of requests lets 1,000 a second through, so every line waits at the gate. In that
process each entry to the gate (admission, settlement, headers, estimates) and each step of its tasks (the lane's calls
to Redis with all of the client under them, the watch for changed figures, the sharing of what is learnt) is timed by
the CPU clock of its thread. The sum is set against the CPU that the process used between the same two moments: one run,
so what others do on the machine falls out. What reading the clock adds to each entry is measured first and taken off both.
Left out is the loop's own handling of a woken waiter and of the socket to Redis, about a hundredth of the whole.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ours import Line
from bench.stand import static_provider, write_input
from worker.embedded import EmbeddedRedis

RPM = 60_000
TPM = 150_000_000  #: as the provider's headers say
MOST_SHARE = 0.10
_SKIP = 2_000  #: requests before the account opens: imports, first connections, a lane that learns its pace


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one worker process over a run of requests."""

    calls: int
    wall_s: float
    process_s: float
    by_entry: dict[str, float]  #: the gate's own, by the function that was entered

    @property
    def gate_s(self) -> float:
        return sum(self.by_entry.values())

    @property
    def share(self) -> float:
        return self.gate_s / self.process_s

    def __str__(self) -> str:
        per = 1e6 / self.calls
        return (
            f"{self.gate_s * per:.0f} of {self.process_s * per:.0f} µs CPU a request, {self.calls:,} requests at "
            f"{self.calls / self.wall_s:,.0f}/s"
        )


class Account:
    """CPU nanoseconds of everything that is booked, by entry, from request number ``_SKIP`` on."""

    def __init__(self, path: Path) -> None:
        self.by_entry: dict[str, int] = {}
        self.settled = self.reads = 0
        self.read_ns = _read_ns()
        self._began = (0, 0)
        self._path = path

    def call(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def booked(*args: Any, **named: Any) -> Any:
            began = time.thread_time_ns()
            try:
                return function(*args, **named)
            finally:
                self.by_entry[function.__qualname__] += time.thread_time_ns() - began - self.read_ns
                self.reads += 1

        self.by_entry[function.__qualname__] = 0
        return booked

    def steps(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """The same for a coroutine: only its own steps, not the time in which it waits."""

        @types.coroutine
        def walk(inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
            step, value = inner.send, None
            while True:
                began = time.thread_time_ns()
                try:
                    waits_for = step(value)
                except StopIteration as end:
                    return end.value
                finally:
                    self.by_entry[function.__qualname__] += time.thread_time_ns() - began - self.read_ns
                    self.reads += 1
                try:
                    step, value = inner.send, (yield waits_for)
                except BaseException as error:
                    step, value = inner.throw, error  # type: ignore[assignment]

        @functools.wraps(function)
        async def booked(*args: Any, **named: Any) -> Any:
            return await walk(function(*args, **named))

        self.by_entry[function.__qualname__] = 0
        return booked

    def settle(self, function: Callable[..., Any]) -> Callable[..., Any]:
        booked = self.call(function)

        @functools.wraps(function)
        def counted(*args: Any, **named: Any) -> Any:
            booked(*args, **named)
            self.settled += 1
            if self.settled == _SKIP:
                self.by_entry, self.reads = dict.fromkeys(self.by_entry, 0), 0
                self._began = time.process_time_ns(), time.monotonic_ns()
            elif self.settled > _SKIP and self.settled % 1000 == 0:
                self._write()

        return counted

    def _write(self) -> None:
        # Two reads an entry: about half of each lies within what is timed.
        process_s = (time.process_time_ns() - self._began[0] - 2 * self.reads * self.read_ns) / 1e9
        wall_s = (time.monotonic_ns() - self._began[1]) / 1e9
        by_entry = {name: ns / 1e9 for name, ns in self.by_entry.items()}
        figures = {"calls": self.settled - _SKIP, "wall_s": wall_s, "process_s": process_s, "by_entry": by_entry}
        self._path.write_text(json.dumps(figures))


def _read_ns() -> int:
    """What a timing of nothing shows, the median of many."""
    shown = []
    for _ in range(5001):
        began = time.thread_time_ns()
        shown.append(time.thread_time_ns() - began)
    return sorted(shown)[2500]


def worker(config: str, account_path: str) -> int:
    """The product's own ``work``, with the gate's entries booked."""
    from worker.cli import run
    from worker.limiter.gate import Gate
    from worker.limiter.lane import Lane
    from worker.limiter.learning import Learning
    from worker.limiter.likely import Likely

    account = Account(Path(account_path))
    for owner, name in ((Gate, "admit"), (Gate, "_watch"), (Lane, "_run"), (Learning, "_run")):
        setattr(owner, name, account.steps(getattr(owner, name)))
    for owner, name in ((Gate, "release"), (Gate, "observe"), (Gate, "pause"), (Likely, "demand"), (Likely, "learn")):
        setattr(owner, name, account.call(getattr(owner, name)))
    Gate.settle = account.settle(Gate.settle)  # type: ignore[method-assign]
    return run(["--config", config, "work"])


class _Booked(Line):
    """The bench's line, its worker with an account."""

    def _command(self, *words: str) -> list[str]:
        if words != ("work",):
            return super()._command(*words)
        return [sys.executable, "-m", "bench.gate_cost", "--worker", str(self.config), str(self.folder / "account")]


def measure(lines: int) -> Cost:
    """One batch of so many lines through one worker."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_input(folder / "in.jsonl", lines)
        with static_provider(folder) as base_url, EmbeddedRedis(folder) as redis:
            line = _Booked(folder, redis, base_url, 1000)
            text = line.config.read_text()
            for old, new in (
                ("rpm = 60000000\n", f"rpm = {RPM}\nconcurrency = 5000\n"),
                ("tpm = 60000000000", f"tpm = {TPM}"),
            ):
                text = text.replace(old, new)
            line.config.write_text(text)
            line.start_workers(1)
            try:
                line.batch(source, lines)
            finally:
                line.stop_workers()
            return Cost(**json.loads((folder / "account").read_text()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(worker(*sys.argv[2:]))
    cost = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15_000)
    for entry, used_s in sorted(cost.by_entry.items(), key=lambda pair: -pair[1]):
        print(f"{entry:<16}{used_s * 1e6 / cost.calls:6.1f} µs a request")
    print(f"the gate takes {cost.share:.1%} of a worker's CPU (at most {MOST_SHARE:.0%}): {cost}")
    sys.exit(cost.share > MOST_SHARE)
