"""What a look costs as people pay for it: the whole command, start to end, beside an interpreter that does nothing.

    python -m bench.startup [--rounds N] [--lines N]

A Redis of its own holds a batch of a million lines, every shard queued. ``python -c pass`` and the commands take turns;
printed are wall and CPU milliseconds, least and median, and how many times the bare interpreter that is. Then come the
packages whose import takes longest, as ``-X importtime`` sees them (it slows them down by about a half).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.figures import table
from bucketline.batch import BatchDocument, BatchOptions
from bucketline.connect import open_redis
from bucketline.ledger import Ledger
from bucketline.queue import enqueue_shards
from bucketline.shard import Shard
from worker.embedded import EmbeddedRedis

LINES_A_SHARD = 200
ID = "batch_large"
COMMAND = [sys.executable, "-m", "worker.cli"]
STEPS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "status": [*COMMAND, "status"],
    "status ID --json": [*COMMAND, "status", ID, "--json"],
    "why ID": [*COMMAND, "why", ID],
    "top --once": [*COMMAND, "top", "--once"],
    "--help": [*COMMAND, "--help"],
}


async def fill(redis_url: str, lines: int) -> None:
    """A batch of so many lines, all of them on the queue."""
    shards = [Shard(n, 1 + n * LINES_A_SHARD, n * 30_000, 30_000, LINES_A_SHARD) for n in range(lines // LINES_A_SHARD)]
    document = BatchDocument(
        id=ID, source="large.jsonl", created_s=time.time(), options=BatchOptions(), lines=lines, rejected=0,
        last_line=lines, input_bytes=30_000 * len(shards), input_sha256="",
        shards=[(s.first_line, s.offset_bytes, s.size_bytes, s.lines) for s in shards],
    )  # fmt: skip
    redis = open_redis(redis_url)
    await Ledger(redis).register(document)
    await enqueue_shards(redis, ID, shards, 5)
    await redis.aclose()


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    began_s = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):  # 3: the batch is not over
        assert process.stderr is not None
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {process.stderr.read().decode()}")
    return wall_s, used.ru_utime + used.ru_stime


def imports(environment: dict[str, str], most: int = 12) -> list[str]:
    """Self times of ``status``'s imports, by package."""
    command = [sys.executable, "-X", "importtime", "-m", "worker.cli", "status"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    packages: Counter[str] = Counter()
    for line in said.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            packages[name.strip().partition(".")[0]] += int(own)
    rows = [(name, f"{us / 1000:.1f}") for name, us in packages.most_common(most)]
    return table("Imports of `status`", ["package", "ms"], [*rows, ("all", f"{packages.total() / 1000:.0f}")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--lines", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as redis:
        environment = os.environ | {"BUCKETLINE_REDIS_URL": redis.url, "BUCKETLINE_STORE": f"{folder}/store"}
        asyncio.run(fill(redis.url, asked.lines))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in STEPS}
        for number in range(-1, asked.rounds):
            for name, command in STEPS.items():
                figures = timed(command, environment)
                if number >= 0:  # the first round warms the caches
                    found[name].append(figures)
        bare = statistics.median(cpu_s for _, cpu_s in found["python -c pass"])
        rows = []
        for name, pairs in found.items():
            wall, cpu = ([1000 * one for one in column] for column in zip(*pairs, strict=True))
            figures_ms = (min(wall), statistics.median(wall), min(cpu), statistics.median(cpu))
            rows.append((name, *(f"{ms:.0f}" for ms in figures_ms), f"{statistics.median(cpu) / 1000 / bare:.0f} ×"))
        head = ["command", "wall ms, least", "median", "CPU ms, least", "median", "CPU of the bare interpreter"]
        title = f"{asked.lines:,} queued lines, {asked.rounds} rounds"
        print("\n".join([*table(title, head, rows), *imports(environment)]))


if __name__ == "__main__":
    main()
