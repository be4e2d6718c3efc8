"""The figures of ``bench.line``: each makes its measurements and answers a table in Markdown."""

from __future__ import annotations

import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.ours import Run, count_commands, environment, line
from bench.stand import run_measured, slow_provider, static_provider, write_input

TAIL, TAIL_S, LATENCY_S, IN_FLIGHT = 0.01, 20.0, 0.2, 400


def spread(values: Sequence[float], digits: int = 3) -> str:
    """min / median / max."""
    return " / ".join(f"{one:.{digits}f}" for one in (min(values), statistics.median(values), max(values)))


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]], *notes: str) -> list[str]:
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return [*lines, *(["", *notes] if notes else []), ""]


def interleaved(rounds: int, steps: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Every step once a round, in turn forwards and backwards."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(steps)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(steps[name]())
            print(f"  {name}: {found[name][-1]:.4f}", file=sys.stderr, flush=True)
    return found


@dataclass(slots=True)
class Figures:
    """One run's way of measuring."""

    folder: Path
    rounds: int
    lines: int
    peers: dict[str, Path]
    quick: bool
    million: bool
    _runs: int = 0
    _cpu: dict[int, Run] = field(default_factory=dict)

    def source(self, lines: int) -> Path:
        return write_input(self.folder / f"input-{lines}.jsonl", lines)

    def place(self) -> Path:
        self._runs += 1
        return self.folder / f"line-{self._runs}"

    def cpu(self) -> list[str]:
        """1: CPU for each request, beside the bare loop and the others."""
        rows, notes = [], []
        for connections in (100,) if self.quick else (100, 1000):
            with static_provider(self.folder) as url:
                steps: dict[str, Callable[[], float]] = {
                    "bare loop": lambda url=url, c=connections: self._bare(url, c),
                    "ours": lambda url=url, c=connections: self._ours(url, c),
                }
                for name in self.peers:
                    steps[name] = lambda name=name, url=url, c=connections: self._peer(name, url, c)
                found = interleaved(self.rounds, steps)
            bare, ours = (statistics.median(found[name]) for name in ("bare loop", "ours"))
            for name, values in found.items():
                median = statistics.median(values)
                rows.append((name, connections, spread(values), f"{median / bare:.2f}", f"{median / ours:.2f}"))
            ratios = [one / other for one, other in zip(found["ours"], found["bare loop"], strict=True)]
            notes.append(f"Ours / bare, round by round, {connections} connections: {spread(ratios, 2)}.")
            run = self._cpu[connections]
            redis_ms = run.redis_cpu_s * 1000 / run.lines
            notes.append(
                f"Redis beside it: {redis_ms * 1000:.0f} ms of CPU for 1,000 lines, so one Redis carries about "
                f"{run.worker_ms / redis_ms:.0f} such workers; peak memory of the worker {max(run.worker_peak_mb):.0f} MB."
            )
        head = ("client", "connections", "CPU ms a request", "× bare", "× ours")
        return table("CPU for each request, one process", head, rows, " ".join(notes))

    def little(self) -> list[str]:
        """2: how much of the allowed calls in flight is used, with and without a heavy tail."""
        lines = 12_000 if self.quick else 40_000
        found: dict[str, list[dict[str, float]]] = {"none": [], "1 % at 20 s": []}
        for _ in range(1 if self.quick else min(3, self.rounds)):
            for name, tail in (("none", 0.0), ("1 % at 20 s", TAIL)):
                with (
                    slow_provider(latency_s=LATENCY_S, tail=tail, tail_s=TAIL_S) as url,
                    line(self.place(), url, connections=IN_FLIGHT) as ours,
                ):
                    ours.batch(self.source(lines), lines)
                    found[name].append(_stats(url))
        rows = [
            (name, spread([one["mean"] / IN_FLIGHT * 100 for one in many], 1), int(max(one["most"] for one in many)))
            for name, many in found.items()
        ]
        plain, heavy = (statistics.median([one["mean"] for one in many]) for many in found.values())
        return table(
            f"Calls in flight: {IN_FLIGHT} allowed, {LATENCY_S * 1000:.0f} ms, {lines:,} lines",
            ("tail", "mean in flight, % of allowed", "most"),
            rows,
            "The mean of the calls in flight over time, from the first call to the last one's start, is by Little's law "
            f"the share of the possible throughput. With the tail it is {heavy / plain * 100:.1f} % of that without.",
        )

    def submit(self) -> list[str]:
        """3: submit beside reading and parsing alone; the first call after it."""
        lines = 50_000 if self.quick else 200_000
        source = self.source(lines)
        with static_provider(self.folder) as url, line(self.place(), url, connections=100, workers=0) as ours:
            found = interleaved(
                self.rounds,
                {
                    "read and parse": lambda: _inside("read", str(source))["cpu_s"],
                    "submit": lambda: _inside("submit", str(source), str(ours.config))["cpu_s"],
                },
            )
        firsts = []
        small = self.source(1000)
        with slow_provider(latency_s=0.01) as url, line(self.place(), url, connections=100) as ours:
            time.sleep(12.0)  # the worker has been idle for a while
            ended_s = _inside("submit", str(small), str(ours.config))["ended_unix_s"]
            while not (stats := _stats(url))["calls"]:
                time.sleep(0.05)
            firsts.append(stats["first_unix_s"] - ended_s)
        rows = [(name, spread([lines / one for one in values], 0)) for name, values in found.items()]
        ratio = statistics.median(found["submit"]) / statistics.median(found["read and parse"])
        return table(
            f"Submit, {lines:,} lines of {source.stat().st_size / lines / 1000:.1f} KB to a folder",
            ("step", "lines a CPU second"),
            rows,
            f"Submit takes {ratio:.2f} × the CPU of reading and parsing. First call of an idle worker: "
            f"{firsts[0]:.2f} s after the end of submit.",
        )

    def merge(self) -> list[str]:
        """4: the parts of a batch merged again, with its manifest."""
        lines = 10_000 if self.quick else 50_000
        with static_provider(self.folder) as url, line(self.place(), url, connections=100) as ours:
            run = ours.batch(self.source(lines), lines)
            batch_id = run.manifest["batch_id"] if "batch_id" in run.manifest else run.manifest["id"]
            said = [_inside("merge", str(ours.config), batch_id) for _ in range(self.rounds)]
        rows = [
            (
                f"{said[0]['bytes'] / 1e6:.0f}",
                *(spread([one["bytes"] / 1e6 / one[clock] for one in said], 0) for clock in ("cpu_s", "wall_s")),
            )
        ]
        return table("Merge and manifest on a folder", ("MB", "MB a CPU second", "MB/s (wall)"), rows)

    def flat(self) -> list[str]:
        """5: cost a line and memory, from small to large batches; what Redis holds and is asked."""
        rows = []
        sizes = [2_000, 10_000] if self.quick else [10_000, 100_000] + ([1_000_000] if self.million else [])
        connections = 100 if self.quick else 1000
        for lines in sizes:
            with (
                static_provider(self.folder) as url,
                line(self.place(), url, connections=connections, workers=0) as ours,
            ):
                run = ours.batch(self.source(lines), lines, first=True)
            rows.append(
                (
                    f"{lines:,}",
                    f"{run.worker_ms:.3f}",
                    f"{max(run.worker_peak_mb):.0f}",
                    f"{run.redis_waiting_bytes / lines:.1f}",
                    f"{run.submit_cpu_s * 1e6 / lines:.1f}",
                )
            )
        lines = min(sizes[-1], 100000)
        with static_provider(self.folder) as url, line(self.place(), url, connections=connections) as ours:
            commands = count_commands(ours, lambda: ours.batch(self.source(lines), lines))
        return table(
            f"From small to large, {connections:,} connections",
            (
                "lines",
                "worker CPU ms a line (start included)",
                "worker peak MB",
                "Redis bytes a waiting line",
                "submit CPU µs a line",
            ),
            rows,
            f"Redis commands for 1,000 lines, {lines:,} lines, those inside scripts not counted: "
            f"{commands * 1000 / lines:.0f}.",
        )

    def two(self) -> list[str]:
        """6: two processes beside one, where latency is the limit."""
        lines = 6_000 if self.quick else 20_000
        found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(1 if self.quick else min(3, self.rounds)):
            for workers, runs in found.items():
                with (
                    slow_provider(latency_s=LATENCY_S) as url,
                    line(self.place(), url, connections=100, workers=workers) as ours,
                ):
                    run = ours.batch(self.source(lines), lines)
                    stats = _stats(url)
                runs.append((lines / (stats["last_unix_s"] - stats["first_unix_s"]), run.worker_ms))
        rows = [
            (workers, spread([rate for rate, _ in many], 0), spread([ms for _, ms in many]))
            for workers, many in found.items()
        ]
        rates = [statistics.median([rate for rate, _ in many]) for many in found.values()]
        costs = [statistics.median([ms for _, ms in many]) for many in found.values()]
        return table(
            "Two processes",
            ("processes", "calls/s at 200 ms, 100 in flight each", "CPU ms a request, all processes"),
            rows,
            f"Two do {rates[1] / rates[0]:.2f} × the work of one where latency is the limit. Where CPU is, a request costs "
            f"{costs[1] / costs[0]:.2f} × as much with two, so two cores of their own would do {2 * costs[0] / costs[1]:.2f} ×.",
        )

    def idle(self) -> list[str]:
        """7: a worker with nothing to do."""
        with static_provider(self.folder) as url, line(self.place(), url, connections=100) as ours:
            ours.batch(self.source(1000), 1000)
            time.sleep(5.0 if self.quick else 15.0)
            seconds = 10.0 if self.quick else 30.0
            share = ours.idle(seconds)
            commands = count_commands(ours, lambda: time.sleep(seconds)) / seconds
        return table("Idle", ("% of a core", "Redis commands a second"), [(f"{share * 100:.2f}", f"{commands:.1f}")])

    def _bare(self, url: str, connections: int) -> float:
        said = run_measured([sys.executable, "-m", "bench.bare", url, str(self.lines), str(connections)])
        return said.cpu_s * 1000 / self.lines

    def _ours(self, url: str, connections: int) -> float:
        with line(self.place(), url, connections=connections) as ours:
            run = self._cpu[connections] = ours.batch(self.source(self.lines), self.lines)
        return run.worker_ms

    def _peer(self, name: str, url: str, connections: int) -> float:
        lines = min(self.lines, 5_000 if name == "flexllm" else 1_000)  # what costs so much shows it with fewer
        source, target = self.source(lines), self.folder / f"{name}.jsonl"
        script = str(Path(__file__).with_name("peers.py"))
        command = [str(self.peers[name]), script, name, str(source), str(target), url, str(connections)]
        return run_measured(command).cpu_s * 1000 / lines


def _inside(*words: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(
        run_measured([sys.executable, "-m", "bench.inside", *words], env=environment()).said
    )
    return said


def _stats(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url + "/stats", timeout=10) as answer:
        stats: dict[str, float] = json.load(answer)
    return stats
