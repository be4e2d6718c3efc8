"""How soon a small batch starts that is submitted behind a large one: ``python -m tests.chaos.fairness [--lines N]``.

Two workers are full of a large batch's lines when the small one comes. Told: after how long, and after how many further calls of the
large one, its first line is called, and its last.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.fleet import Fleet, a_fleet
from worker.logs import set_up_logs
from worker.simulator import ModelConfig, Prices, ProviderConfig, SimulatorConfig, Weather

__all__ = ["IN_FLIGHT", "Start", "small_behind_large"]

WORKERS, CONCURRENCY = 2, 40
IN_FLIGHT = WORKERS * CONCURRENCY
SMALL = 20
LATENCY_S = 0.25


@dataclass(frozen=True)
class Start:
    """Seconds and the large batch's calls from the end of the small one's submit to its first call, and to its last."""

    first_s: float
    last_s: float
    before_first: int
    before_last: int


async def small_behind_large(folder: Path, lines: int) -> Start:
    provider = ProviderConfig(
        models={"m": ModelConfig(Prices("1.00", "3.00"))}, keys={"main": "sk-a"}, weather=Weather(latency_s=LATENCY_S)
    )
    settings = {
        "providers": {"a": {}},
        "models": {"m": {"routes": [{"provider": "a", "model": "m"}]}},
        "worker": {"concurrency": CONCURRENCY, "grace_s": 5},
    }
    config = SimulatorConfig({"a": provider}, seed=3, record_calls=True)
    async with a_fleet(folder, config, settings, workers=WORKERS) as fleet:
        await fleet.submit(_lines("large", lines))
        await _full(fleet)
        small = await fleet.submit(_lines("small", SMALL))
        submitted_s = fleet.simulator.books()["age_s"]
        await fleet.finished(small)
        calls = fleet.simulator.books(calls=True)["providers"]["a"]["call_list"]
    first_s, *_, last_s = sorted(call["began_s"] for call in calls if call["tag"] == "small")
    between = [call["began_s"] for call in calls if call["tag"] == "large" and call["began_s"] > submitted_s]
    return Start(
        round(first_s - submitted_s, 3),
        round(last_s - submitted_s, 3),
        sum(1 for began_s in between if began_s < first_s),
        sum(1 for began_s in between if began_s < last_s),
    )


async def _full(fleet: Fleet) -> None:
    """Until both workers are at work for a while."""
    while fleet.simulator.books()["totals"]["calls"] < 3 * IN_FLIGHT:
        await asyncio.sleep(0.02)


def _lines(tag: str, count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        body = {"model": "m", "messages": [{"role": "user", "content": f"tag:{tag} {number}"}]}
        yield {"custom_id": f"{tag}-{number}", "url": "/v1/chat/completions", "body": body}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fairness")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the large batch")
    lines = parser.parse_args().lines
    set_up_logs(level="ERROR")
    with tempfile.TemporaryDirectory(prefix="bucketline-fairness-") as folder:
        start = asyncio.run(small_behind_large(Path(folder), lines))
    sys.stdout.write(
        f"{SMALL} lines behind {lines}, {IN_FLIGHT} calls in flight: the first is called {start.first_s} s after the submit "
        f"({start.before_first} calls of the large batch between), the last {start.last_s} s ({start.before_last})\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
