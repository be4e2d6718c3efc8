"""Size and sudden death: a large file at a flat memory, and a producer that is killed at any moment."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis

from tests.unit.producer.lines_for_tests import chat_line

CONFIG = """
[providers.alpha]
base_url = "http://127.0.0.1:9/v1"
[models.small]
routes = [{ provider = "alpha", model = "small" }]
"""
MEASURED = r"""
import pathlib, re, sys, time
from worker.cli import run
began = time.perf_counter()
code = run(["submit", sys.argv[1]])
peak_kb = int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text()).group(1))
print(code, peak_kb // 1024, round(time.perf_counter() - began, 2), file=sys.stderr)
"""


@pytest.fixture
def env(redis_url: str, work_folder: Path) -> dict[str, str]:
    (work_folder / "bucketline.toml").write_text(CONFIG)
    return {**os.environ, "BUCKETLINE_REDIS_URL": redis_url, "BUCKETLINE_STORE": str(work_folder / "store")}


def write_lines(file: Path, count: int) -> None:
    with file.open("wb") as out:
        out.writelines(chat_line(f"request-{n}", "x" * 850) + b"\n" for n in range(count))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc, which is the process's own")
def test_a_hundred_thousand_lines_pass_at_a_flat_memory(env, work_folder):
    """The input may be larger than the machine: nothing but digests of ids and line ranges may grow with it."""
    file = work_folder / "in.jsonl"
    peaks = {}
    for count in (10_000, 100_000):
        write_lines(file, count)
        ended = subprocess.run(
            [sys.executable, "-c", MEASURED, str(file)],
            check=False,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert json.loads(ended.stdout)["lines"] == count
        code, peak_mb, seconds = ended.stderr.split()[-3:]
        sys.stdout.write(f"{count} lines: {seconds} s, {peak_mb} MB, {count / float(seconds):,.0f} lines/s\n")
        assert code == "0"
        peaks[count] = int(peak_mb)
    assert peaks[100_000] < 200
    assert peaks[100_000] - peaks[10_000] < 25  # 16 bytes a line, and what the allocator keeps


@pytest.mark.slow
def test_a_killed_producer_leaves_a_whole_batch_or_none(env, work_folder, redis_url):
    """SIGKILL at any point: what has a document has its whole input; what has none is not seen by anyone."""
    file = work_folder / "in.jsonl"
    write_lines(file, 20_000)
    whole = file.read_bytes()
    dice = random.Random(7)
    ends = []
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "submit", str(file)], env=env, stdout=subprocess.DEVNULL
        )
        time.sleep(dice.uniform(0.25, 0.9))  # the moment of death is the dice's
        process.send_signal(signal.SIGKILL)
        ends.append(process.wait())
    store = work_folder / "store" / "batches"
    documents = list(store.glob("*/batch.json")) if store.exists() else []
    for document in documents:
        assert (document.parent / "input.jsonl").read_bytes() == whole
    with Redis.from_url(redis_url) as redis:
        queued = {re.sub(r"^bl:|:\d+$", "", raw.decode()) for raw in redis.zrange("bl:queue", 0, -1)}
        signs = {raw.decode() for raw in redis.zrange("bl:submitting", 0, -1)}
        known = {raw.decode() for raw in redis.zrange("bl:batches", 0, -1)}
    stored = {document.parent.name for document in documents}
    assert queued <= stored
    assert known <= stored
    assert stored <= known | signs
    assert -signal.SIGKILL in ends
