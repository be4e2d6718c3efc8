"""What a line costs its worker, Redis and the store: the figures of ``docs/scaling.md``, one table in Markdown.

    python -m bench.scaling [--lines 20000]        two minutes

One worker, 200 calls in flight, a provider that answers at once; the store once a folder, once an S3 server on loopback that
counts requests as they are billed (a listing costs what a write does, deleting nothing). Redis' figures are its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from bench.ours import Line, count_commands, environment, line
from bench.stand import cpu_s, peak_mb, static_provider, write_input

IDLE_S = 20.0
KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True, slots=True)
class Cost:
    """One batch, per what is named."""

    lines: int
    worker_ms: float
    worker_peak_mb: float
    scripts: int
    commands: int
    redis_cpu_s: float
    redis_peak_mb: float
    received_mb: float
    sent_mb: float
    most: list[tuple[str, int]]


def batch(ours: Line, source: Path, lines: int) -> Cost:
    """Send one file through, and read what it cost."""
    ours.start_workers(1)
    worker = ours.workers[0].pid
    ours.client.config_resetstat()
    before, redis_before = cpu_s(worker), cpu_s(ours.redis.pid)
    batch_id, _, _ = ours.submit(source)
    command = [sys.executable, "-m", "worker.cli", "--config", str(ours.config), "wait", batch_id]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    calls = {name.removeprefix("cmdstat_"): said["calls"] for name, said in ours.client.info("commandstats").items()}
    stats, memory = ours.client.info("stats"), ours.client.info("memory")
    return Cost(
        lines,
        (cpu_s(worker) - before) * 1000 / lines,
        peak_mb(worker),
        sum(calls.get(name, 0) for name in ("eval", "evalsha")),
        sum(calls.values()),
        cpu_s(ours.redis.pid) - redis_before,
        memory["used_memory_peak"] / 1e6,
        stats["total_net_input_bytes"] / 1e6,
        stats["total_net_output_bytes"] / 1e6,
        Counter(calls).most_common(5),
    )


@contextmanager
def counting_s3() -> Iterator[tuple[str, Counter[str]]]:
    """An S3 server that counts what would be billed; its address and the counts."""
    counts: Counter[str] = Counter()
    inner: Any = DomainDispatcherApplication(create_backend_app)

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        listing = method == "GET" and "list-type" in environ.get("QUERY_STRING", "")
        counts["list" if listing else method.lower()] += 1
        return inner(environ, start)  # type: ignore[no-any-return]

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: object) -> None:
            pass

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", counts
    finally:
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description="What a line costs its worker, Redis and the store.")
    parser.add_argument("--lines", type=int, default=20_000)
    lines = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as name, counting_s3() as (address, counts):
        folder = Path(name)
        source = write_input(folder / "input.jsonl", lines)
        with static_provider(folder) as url:
            with line(folder / "a", url, connections=200, workers=0) as ours:
                plain = batch(ours, source, lines)
                time.sleep(5.0)  # what a worker does after its last shard is not idling yet
                idle = count_commands(ours, lambda: time.sleep(IDLE_S)) / IDLE_S
            os.environ |= KEYS | {"AWS_ENDPOINT_URL_S3": address}
            boto3.client("s3").create_bucket(Bucket="bench")
            with line(folder / "b", url, connections=200, workers=0) as ours:
                ours.config.write_text(ours.config.read_text().replace(str(ours.store), "s3://bench"))
                counts.clear()
                bucket = batch(ours, source, lines)
                asked = Counter(counts)
    print(table(plain, bucket))
    print("\nMost of them, for 1,000 lines:", ", ".join(f"{name} {n * 1000 / lines:,.0f}" for name, n in plain.most))
    print(f"\nAn idle worker: {idle:.1f} Redis commands a second.")
    writes, reads = asked["put"] + asked["post"] + asked["list"], asked["get"] + asked["head"]
    million = 1_000_000 / lines
    print(f"\nThe store, {lines:,} lines: {json.dumps(dict(asked))}")
    for what, count, price in (("writes and listings", writes, 0.005), ("reads", reads, 0.0004)):
        print(f"| {what} | {count * million:,.0f} | {count * million / 1000 * price:.3f} USD |")


def table(plain: Cost, bucket: Cost) -> str:
    """Both stores side by side."""
    per = 1000 / plain.lines
    rows: list[tuple[str, Callable[[Cost], str]]] = [
        ("a worker's processor time a line, everything included", lambda one: f"{one.worker_ms:.2f} ms"),
        ("a worker's memory at its peak", lambda one: f"{one.worker_peak_mb:.0f} MB"),
        ("Redis: scripts for 1,000 lines", lambda one: f"{one.scripts * per:.0f}"),
        ("Redis: commands for 1,000 lines, those inside scripts included", lambda one: f"{one.commands * per:,.0f}"),
        ("Redis: its processor time for 1,000 lines", lambda one: f"{one.redis_cpu_s * 1000 * per:.0f} ms"),
        ("Redis: memory at its peak", lambda one: f"{one.redis_peak_mb:.1f} MB"),
        (
            "Redis: received, sent for 1,000 lines",
            lambda one: f"{one.received_mb * per:.2f} MB, {one.sent_mb * per:.2f} MB",
        ),
    ]
    head = ["| | a folder | S3 (moto's server) |", "| --- | --- | --- |"]
    return "\n".join(head + [f"| {name} | {say(plain)} | {say(bucket)} |" for name, say in rows])


if __name__ == "__main__":
    main()
