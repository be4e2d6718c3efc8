"""``make chaos-providers``: thousands of lines through three providers of which each fails in its own ways.

One is dead for a while and later runs out of money until it is topped up and resumed; one becomes slow and later returns
rubbish; one refuses for speed and later recovers from an overload. Some lines may go to any of the three, some to one only.
At the end: every line once and answered, few calls beyond the necessary, and our books are the providers' own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bucketline.circuit import read_all_circuits, resume
from bucketline.money import nano_from_usd
from tests.chaos.fleet import Fleet, Results, a_fleet
from worker.logs import set_up_logs
from worker.simulator import ModelConfig, Phase, PhaseKind, Prices, ProviderConfig, SimulatorConfig, Weather

__all__ = ["Report", "Storm", "storm"]

NAMES = ("alpha", "beta", "gamma")
PRICES = {"alpha": ("1.00", "3.00"), "beta": ("1.50", "6.00"), "gamma": ("0.80", "4.00")}
LATENCY_S = 0.1
_PAID_UNSEEN = ("broken", "cut", "lost", "hang", "left")  #: billed, and no usage reached us


@dataclass(frozen=True)
class Storm:
    """How many lines, and by how much the script is stretched: 1 fits 5,000 lines."""

    lines: int = 5000
    stretch: float = 1.0
    seed: int = 7
    concurrency: int = 12
    most_beyond: float = 0.03  #: each trouble costs its handful of calls, however many lines there are


@dataclass(frozen=True)
class Report:
    """What is judged."""

    seconds: float
    lines: int
    once: bool
    answered: int
    failed: dict[str, int]
    calls: int
    beyond: float  #: calls beyond one for each line, as a share
    most_beyond: float
    ours_nanousd: int
    theirs_nanousd: int  #: what they billed for calls whose usage reached us
    unseen_nanousd: int  #: what they billed for calls whose answer broke on the way
    unseen_calls: int
    maybe_calls: int
    maybe_nanousd: int
    routes: dict[str, int]
    faults: dict[str, dict[str, int]]
    circuits_left: list[str]

    @property
    def faulty(self) -> list[str]:
        """What is not as it must be."""
        checks = {
            "a line is missing or there twice": self.once,
            "a line failed that a healthy route could have answered": self.answered == self.lines,
            "too many calls beyond the necessary": self.beyond < self.most_beyond,
            "our books are not theirs": self.ours_nanousd == self.theirs_nanousd,
            "calls that may have been billed are not all marked": self.unseen_calls <= self.maybe_calls,
            "the mark does not cover what was billed unseen": self.unseen_nanousd <= self.maybe_nanousd,
        }
        return [what for what, holds in checks.items() if not holds]


async def storm(folder: Path, script: Storm) -> Report:
    """Run the script in a folder."""
    async with a_fleet(folder, _providers(script), _settings(script)) as fleet:
        began_s = time.monotonic()
        batch_id = await fleet.submit(_lines(script.lines))
        operator = asyncio.create_task(_operator(fleet, script))
        try:
            results = await fleet.finished(batch_id)
        finally:
            operator.cancel()
        left = [circuit.name for circuit in await read_all_circuits(fleet.engines[0].redis)]
        return _report(script, results, fleet.simulator.books(calls=True), time.monotonic() - began_s, left)


def _lines(count: int) -> Iterator[dict[str, Any]]:
    """Of ten lines seven may go anywhere, and one to each provider only."""
    for number in range(count):
        model = ("any",) * 7 + tuple(f"only-{name}" for name in NAMES)
        text = f"Line {number}. " + "Tell me more about it. " * (number % 5)
        body = {"model": model[number % 10], "messages": [{"role": "user", "content": text}], "max_tokens": 200}
        yield {"custom_id": f"c-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _providers(script: Storm) -> SimulatorConfig:
    def at(kind: PhaseKind, share: float, for_s: float | None, **more: float) -> Phase:
        """Begins with the provider's own call that is this share of all lines: so every phase is met, on any machine."""
        lasts = None if for_s is None else for_s * script.stretch
        return Phase(kind, after_calls=int(share * script.lines), for_s=lasts, **more)

    phases = {
        "alpha": (at(PhaseKind.DEAD, 0.02, 2.5), at(PhaseKind.EXHAUSTED, 0.10, None)),
        "beta": (at(PhaseKind.SLOW, 0.05, 3, factor=8.0), at(PhaseKind.RUBBISH, 0.15, 2)),
        "gamma": (at(PhaseKind.LIMITING, 0.08, 2), at(PhaseKind.RECOVERING, 0.16, 3)),
    }
    weather = Weather(latency_s=LATENCY_S, sigma=0.3)
    made = {
        name: ProviderConfig(
            models={f"{name}-small": ModelConfig(Prices(*PRICES[name]), output_tokens=40)},
            keys={"main": f"sk-sim-{name}"},
            weather=weather,
            phases=phases[name],
        )
        for name in NAMES
    }
    return SimulatorConfig(made, seed=script.seed, record_calls=True)


def _settings(script: Storm) -> dict[str, Any]:
    routes = {name: {"provider": name, "model": f"{name}-small"} for name in NAMES}
    models: dict[str, Any] = {f"only-{name}": {"routes": [routes[name]]} for name in NAMES}
    models["any"] = {"routes": list(routes.values()), "policy": "weighted", "spill": True, "spill_after_s": 0.5}
    return {
        "providers": {name: {"concurrency": script.concurrency} for name in NAMES},
        "models": models,
        "prices": {f"{n}/{n}-small": {"input": PRICES[n][0], "output": PRICES[n][1]} for n in NAMES},
        "retry": {"base_delay_s": 0.1, "max_delay_s": 1.0, "request_timeout_s": 20},
        "worker": {"concurrency": 200, "lease_s": 5},
    }


async def _operator(fleet: Fleet, script: Storm) -> None:
    """Tops the empty account up a while after it has run out, and resumes the route."""
    redis = fleet.engines[0].redis
    while not any(circuit.kind == "account_exhausted" for circuit in await read_all_circuits(redis)):
        await asyncio.sleep(0.1)
    await asyncio.sleep(2.5 * script.stretch)
    fleet.simulator.change({"provider": "alpha", "top_up_usd": "10"})
    await resume(redis, "alpha")


def _report(script: Storm, results: Results, books: dict[str, Any], seconds: float, left: list[str]) -> Report:
    calls = [call for provider in books["providers"].values() for call in provider["call_list"]]
    unseen = [call for call in calls if call["fault"] in _PAID_UNSEEN and call["nanousd"]]
    unseen_nanousd = sum(call["nanousd"] for call in unseen)
    cost = results.manifest["cost"]
    ids = Counter(row["custom_id"] for row in results.rows)
    return Report(
        seconds=round(seconds, 1),
        lines=script.lines,
        once=len(ids) == script.lines == len(results.rows),
        answered=len(results.answered),
        failed=dict(Counter(row["error"]["code"] for row in results.failed)),
        calls=books["totals"]["calls"],
        beyond=round(books["totals"]["calls"] / script.lines - 1, 4),
        most_beyond=script.most_beyond,
        ours_nanousd=nano_from_usd(cost["usd"]),
        theirs_nanousd=books["totals"]["nanousd"] - unseen_nanousd,
        unseen_nanousd=unseen_nanousd,
        unseen_calls=len(unseen),
        maybe_calls=cost["maybe_billed"]["attempts"],
        maybe_nanousd=nano_from_usd(cost["maybe_billed_usd"] or "0"),
        routes={f"{row['provider']}": row["requests"] for row in cost["by_route"]},
        faults={name: dict(provider["by_fault"]) for name, provider in books["providers"].items()},
        circuits_left=left,
    )


def main(arguments: list[str]) -> int:
    """Run the storm; 0 when all is as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.providers", description=__doc__)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--stretch", type=float, default=None, help="of the script; by default as the lines need it")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--logs", action="store_true", help="show the line's warnings")
    asked = parser.parse_args(arguments)
    set_up_logs(level="WARNING" if asked.logs else "ERROR")
    stretch = asked.stretch or asked.lines / 5000
    with tempfile.TemporaryDirectory(prefix="bucketline-chaos-") as folder:
        report = asyncio.run(storm(Path(folder), Storm(asked.lines, stretch, asked.seed)))
    sys.stdout.write(json.dumps(report.__dict__, indent=2) + "\n")
    sys.stderr.writelines(f"FAULTY: {what}\n" for what in report.faulty)
    return 1 if report.faulty else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
