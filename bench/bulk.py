"""The figures of ``bench.line`` that are about files and sizes: submit, merge, and what grows with a batch.

Each takes the ``Stage``, measures, leaves what was asked there, and answers a table in Markdown.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from bench.calls import stats_of
from bench.figures import Judged, Stage, interleaved, median, spread, table
from bench.ours import Run, commands_by_part, environment, line
from bench.stand import run_measured, slow_provider, static_provider


def submit(stage: Stage) -> list[str]:
    """Submit beside reading and parsing alone; the first call after it."""
    lines = 50_000 if stage.quick else 200_000
    source = stage.source(lines)
    said: dict[str, list[dict[str, Any]]] = {"read and parse": [], "submit": []}
    with line(stage.place(), "http://127.0.0.1:9/v1", connections=100, workers=0) as ours:

        def step(name: str, *words: str) -> float:
            said[name].append(_inside(*words))
            wall_s: float = said[name][-1]["wall_s"]
            return wall_s

        interleaved(
            stage.rounds,
            {
                "read and parse": lambda: step("read and parse", "read", str(source)),
                "submit": lambda: step("submit", "submit", str(source), str(ours.config)),
            },
        )
    times = {name: {clock: [one[clock] for one in many] for clock in _CLOCKS} for name, many in said.items()}
    ratios = {
        clock: [one / other for one, other in zip(times["submit"][clock], times["read and parse"][clock], strict=True)]
        for clock in _CLOCKS
    }
    firsts = [_first_call_s(stage) for _ in range(1 if stage.quick else stage.rounds)]
    stage.judge(
        Judged(
            "Submit, lines a second", [lines / one for one in times["submit"]["wall_s"]], at_least=100_000, digits=0
        ),
        Judged("Submit / reading and parsing alone, on the wall", ratios["wall_s"], at_most=2),
        Judged("The same by the CPU of the thread that scans", ratios["thread_s"], at_most=2),
        Judged("First call of an idle worker after submit", firsts, at_most=0.5, unit="s"),
    )
    return table(
        f"Submit, {lines:,} lines of {source.stat().st_size / lines / 1000:.1f} KB to a folder",
        (
            "step",
            "lines a second on the wall",
            "lines a CPU second of the thread that scans",
            "lines a CPU second in all",
        ),
        [(name, *(spread([lines / one for one in by[clock]], 0) for clock in _CLOCKS)) for name, by in times.items()],
        "The wall ends with the file safe on the disk, and is shared with whatever else the machine does. Digest and writing "
        "have a thread of their own, so with a core free for it the thread that scans is what a submit takes.",
    )


_CLOCKS = ("wall_s", "thread_s", "cpu_s")


def _first_call_s(stage: Stage) -> float:
    """From the end of a submit to the first call of a worker that was idle."""
    with slow_provider(latency_s=0.01) as url, line(stage.place(), url, connections=100) as ours:
        time.sleep(6.0)
        ended_s: float = _inside("submit", str(stage.source(1000)), str(ours.config))["ended_unix_s"]
        while not (stats := stats_of(url))["calls"]:
            time.sleep(0.02)
    return stats["first_unix_s"] - ended_s


def merge(stage: Stage) -> list[str]:
    """The parts of a batch merged again, with its manifest."""
    lines = 10_000 if stage.quick else 50_000
    with static_provider(stage.folder) as url, line(stage.place(), url, connections=100) as ours:
        run = ours.batch(stage.source(lines), lines)
        said = [_inside("merge", str(ours.config), run.manifest["id"]) for _ in range(stage.rounds + 2)]
    wall, cpu = ([one["bytes"] / 1e6 / one[clock] for one in said] for clock in ("wall_s", "cpu_s"))
    stage.judge(Judged("Merge and manifest on a folder", wall, at_least=100, unit="MB/s", digits=0))
    return table(
        "Merge and manifest on a folder",
        ("MB", "MB a second", "MB a CPU second"),
        [(f"{said[0]['bytes'] / 1e6:.0f}", spread(wall, 0), spread(cpu, 0))],
    )


def flat(stage: Stage) -> list[str]:
    """Cost a line and memory, from small to large batches; what Redis holds and is asked."""
    sizes = [2_000, 10_000] if stage.quick else [10_000, 100_000]
    connections = 100 if stage.quick else 1000
    found: dict[int, list[Run]] = {lines: [] for lines in sizes}
    for _ in range(1 if stage.quick else stage.rounds):
        for lines, runs in found.items():
            runs.append(_sized(stage, lines, connections))
    if stage.million:
        found[1_000_000] = [_sized(stage, 1_000_000, connections)]
    _judge_flat(stage, found)
    lines = sizes[-1]
    with static_provider(stage.folder) as url, line(stage.place(), url, connections=connections) as ours:
        parts = commands_by_part(ours, lambda: ours.batch(stage.source(lines), lines))
    commands = sum(parts.values()) * 1000 / lines
    stage.judge(Judged(f"Redis commands for 1,000 lines, {lines:,} lines", [commands], at_most=60, digits=0))
    listed = ", ".join(f"{name} {count * 1000 / lines:.0f}" for name, count in sorted(parts.items()))
    return table(
        f"From small to large, {connections:,} connections",
        ("lines", "worker CPU ms a line", "worker peak MB", "Redis bytes a waiting line", "submit CPU µs a line"),
        [
            (
                f"{lines:,}",
                spread([run.worker_ms for run in runs]),
                spread([max(run.worker_peak_mb) for run in runs], 0),
                f"{runs[0].redis_waiting_bytes / lines:.1f}",
                spread([run.submit_cpu_s * 1e6 / lines for run in runs], 1),
            )
            for lines, runs in found.items()
        ],
        f"Redis commands for 1,000 lines, {lines:,} lines, those inside scripts not counted: {commands:.0f} ({listed}). "
        "Those of the queue and the ledger go by the shard, the others by the second.",
    )


def _sized(stage: Stage, lines: int, connections: int) -> Run:
    """One batch through a worker that has done nothing before."""
    with static_provider(stage.folder) as url, line(stage.place(), url, connections=connections, workers=0) as ours:
        waiting = ours.weigh(stage.source(1), stage.source(lines))
    with static_provider(stage.folder) as url, line(stage.place(), url, connections=connections) as ours:
        return ours.batch(stage.source(lines), lines, timeout_s=3600, waiting=waiting)


def _judge_flat(stage: Stage, found: dict[int, list[Run]]) -> None:
    costs = {lines: median([run.worker_ms for run in runs]) for lines, runs in found.items()}
    peaks = {lines: median([max(run.worker_peak_mb) for run in runs]) for lines, runs in found.items()}
    sizes = f"{min(found):,} to {max(found):,} lines"
    if not stage.quick:
        stage.judge(
            Judged(
                f"CPU a line, largest / smallest, {sizes}", [max(costs.values()) / min(costs.values())], at_most=1.1
            ),
            Judged(
                f"Peak memory, largest / smallest, {sizes}", [max(peaks.values()) / min(peaks.values())], at_most=1.1
            ),
        )
    stage.judge(
        Judged("Peak memory of the worker", list(peaks.values()), at_most=200, unit="MB", digits=0),
        Judged(
            "Redis bytes for a waiting line",
            [run.redis_waiting_bytes / run.lines for runs in found.values() for run in runs],
            at_most=20,
            digits=1,
        ),
    )


def _inside(*words: str) -> dict[str, Any]:
    """One step in a process of its own, on all cores: its threads digest and write beside it."""
    command = [sys.executable, "-m", "bench.inside", *words]
    said: dict[str, Any] = json.loads(run_measured(command, env=environment(), one_core=False).said)
    return said
