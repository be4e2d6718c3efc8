"""The figures of ``bench.line`` that are about calls: what one costs, how many are in flight, two processes, none at all.

Each takes the ``Stage``, measures, leaves what was asked there, and answers a table in Markdown.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench.figures import Judged, NotMeasured, Stage, interleaved, median, spread, table
from bench.ours import Run, commands_by_part, line
from bench.stand import run_measured, slow_provider, static_provider

TAIL, TAIL_S, LATENCY_S, IN_FLIGHT = 0.01, 20.0, 0.2, 400
#: lines sent through a client in one round: what costs much shows it with few
PEER_LINES = {"flexllm": 4_000, "curator": 2_000, "litellm": 500}
PEER_LINES_ELSE = 1_000


def cpu(stage: Stage) -> list[str]:
    """CPU for each request, beside the bare loop and other clients."""
    rows, notes = [], []
    for connections in (100,) if stage.quick else (100, 1000):
        runs: list[Run] = []
        with static_provider(stage.folder) as url:
            steps: dict[str, Callable[[], float]] = {
                "bare loop": lambda url=url, c=connections: _bare(stage, url, c),
                "ours": lambda url=url, c=connections, runs=runs: _ours(stage, url, c, runs),
            }
            for name in stage.peers:
                steps[name] = lambda name=name, url=url, c=connections: _peer(stage, name, url, c)
            found = interleaved(stage.rounds, steps)
        bare, ours = (median(found[name]) for name in ("bare loop", "ours"))
        for name, values in found.items():
            middle = median(values)
            rows.append((name, connections, spread(values), f"{middle / bare:.2f}", f"{middle / ours:.2f}"))
        _judge_cpu(stage, found, connections)
        notes.append(_beside(runs, connections))
    missing = [name for name in stage.peers if name not in found]
    if missing:
        notes.append(f"Not measured here: {', '.join(missing)}.")
    head = ("client", "connections", "CPU ms a request", "× bare", "× ours")
    return table("CPU for each request, one process", head, rows, " ".join(notes))


def _judge_cpu(stage: Stage, found: dict[str, list[float]], connections: int) -> None:
    def ratios(one: str, other: str) -> list[float]:
        return [above / below for above, below in zip(found[one], found[other], strict=True)]

    where = f", {connections} connections"
    stage.judge(Judged(f"CPU a request: ours / bare loop{where}", ratios("ours", "bare loop"), at_most=1.6))
    peers = [name for name in stage.peers if name in found]
    if peers:
        best = min(peers, key=lambda name: median(found[name]))
        stage.judge(
            Judged(f"CPU a request: best other client ({best}) / ours{where}", ratios(best, "ours"), at_least=3.5)
        )
    if "litellm" in peers:
        stage.judge(Judged(f"CPU a request: LiteLLM's Router / ours{where}", ratios("litellm", "ours"), at_least=25))


def _beside(runs: list[Run], connections: int) -> str:
    """What Redis and the memory were meanwhile."""
    redis_ms = median([run.redis_cpu_s * 1000 / run.lines for run in runs])
    worker_ms = median([run.worker_ms for run in runs])
    return (
        f"{connections} connections: Redis takes {redis_ms * 1000:.0f} ms of CPU for 1,000 lines, so one Redis carries about "
        f"{1000 / redis_ms:,.0f} lines a second, the work of {worker_ms / redis_ms:.0f} such processes at full load; peak "
        f"memory of the worker {max(max(run.worker_peak_mb) for run in runs):.0f} MB."
    )


def little(stage: Stage) -> list[str]:
    """How much of the allowed calls in flight is used, with and without a heavy tail."""
    lines = 12_000 if stage.quick else 40_000
    tails = {"none": 0.0, f"{TAIL:.0%} at {TAIL_S:.0f} s": TAIL}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in tails}
    for _ in range(1 if stage.quick else stage.rounds):
        for name, tail in tails.items():
            with (
                slow_provider(latency_s=LATENCY_S, tail=tail, tail_s=TAIL_S) as url,
                line(stage.place(), url, connections=IN_FLIGHT) as ours,
            ):
                ours.batch(stage.source(lines), lines)
                found[name].append(stats_of(url))
    shares = {name: [one["mean"] / IN_FLIGHT * 100 for one in many] for name, many in found.items()}
    plain, heavy = shares.values()
    stage.judge(
        Judged(f"Calls in flight of {IN_FLIGHT} allowed, 200 ms", plain, at_least=95, unit="%", digits=1),
        Judged(
            "The same with 1 % of answers at 20 s / without",
            [one / other * 100 for one, other in zip(heavy, plain, strict=True)],
            at_least=97,
            unit="%",
            digits=1,
        ),
    )
    return table(
        f"Calls in flight: {IN_FLIGHT} allowed, {LATENCY_S * 1000:.0f} ms, {lines:,} lines",
        ("tail", "mean in flight, % of allowed", "most"),
        [(name, spread(shares[name], 1), int(max(one["most"] for one in many))) for name, many in found.items()],
        "The mean of the calls in flight over time, from the first call to the last one's start, is by Little's law the "
        "share of the possible throughput.",
    )


def two(stage: Stage) -> list[str]:
    """Two processes beside one, where neither the provider nor Redis is the limit."""
    lines = 6_000 if stage.quick else 20_000
    found: dict[int, list[tuple[float, Run]]] = {1: [], 2: []}
    for _ in range(1 if stage.quick else stage.rounds):
        for workers, runs in found.items():
            with (
                slow_provider(latency_s=LATENCY_S) as url,
                line(stage.place(), url, connections=100, workers=workers) as ours,
            ):
                run = ours.batch(stage.source(lines), lines)
                stats = stats_of(url)
            runs.append((lines / (stats["last_unix_s"] - stats["first_unix_s"]), run))
    rates = {workers: [rate for rate, _ in runs] for workers, runs in found.items()}
    costs = {workers: [run.worker_ms for _, run in runs] for workers, runs in found.items()}
    redis_share = max(run.redis_cpu_s / run.wall_s for runs in found.values() for _, run in runs)
    stage.judge(
        Judged("Calls a second: two processes / one", _ratios(rates), at_least=1.8),
        Judged("CPU a request: two processes / one", _ratios(costs), at_most=1.11),
    )
    return table(
        f"Two processes, {LATENCY_S * 1000:.0f} ms, 100 in flight each, {lines:,} lines",
        ("processes", "calls a second", "CPU ms a request, all processes"),
        [(workers, spread(rates[workers], 0), spread(costs[workers])) for workers in found],
        f"By Little's law one process can do {100 / LATENCY_S:.0f} calls a second here; where it does fewer, the machine had no "
        f"more for it. Redis uses {redis_share * 100:.0f} % of a core at the most. Where CPU is the limit, two cores of their own "
        "do twice the work of one, divided by the ratio of the CPU for each request.",
    )


def _ratios(values: dict[int, list[float]]) -> list[float]:
    return [both / one for one, both in zip(values[1], values[2], strict=True)]


def idle(stage: Stage) -> list[str]:
    """A worker with nothing to do."""
    with static_provider(stage.folder) as url, line(stage.place(), url, connections=100) as ours:
        ours.batch(stage.source(1000), 1000)
        time.sleep(5.0 if stage.quick else 15.0)
        seconds = 10.0 if stage.quick else 30.0
        shares = [ours.idle(seconds) * 100 for _ in range(1 if stage.quick else stage.rounds)]
        commands = sum(commands_by_part(ours, lambda: time.sleep(seconds)).values()) / seconds
    stage.judge(
        Judged("An idle worker's CPU", shares, at_most=1, unit="% of a core"),
        Judged("An idle worker's Redis commands a second", [commands], at_most=5, digits=1),
    )
    return table("Idle", ("% of a core", "Redis commands a second"), [(spread(shares, 2), f"{commands:.1f}")])


def _bare(stage: Stage, url: str, connections: int) -> float:
    said = run_measured([sys.executable, "-m", "bench.bare", url, str(stage.lines), str(connections)])
    return said.cpu_s * 1000 / stage.lines


def _ours(stage: Stage, url: str, connections: int, runs: list[Run]) -> float:
    with line(stage.place(), url, connections=connections) as ours:
        runs.append(ours.batch(stage.source(stage.lines), stage.lines))
    return runs[-1].worker_ms


def _peer(stage: Stage, name: str, url: str, connections: int) -> float:
    lines = min(stage.lines, PEER_LINES.get(name, PEER_LINES_ELSE))
    source, target = stage.source(lines), stage.folder / f"{name}.jsonl"
    script = str(Path(__file__).with_name("peers.py"))
    command = [str(stage.peers[name]), script, name, str(source), str(target), url, str(connections)]
    try:
        return run_measured(command, timeout_s=300).cpu_s * 1000 / lines
    except RuntimeError as error:
        raise NotMeasured(str(error).strip().rpartition("\n")[2]) from None


def stats_of(url: str) -> dict[str, float]:
    """What the slow provider has seen."""
    with urllib.request.urlopen(url + "/stats", timeout=10) as answer:
        stats: dict[str, float] = json.load(answer)
    return stats
