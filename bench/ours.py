"""Our whole path, measured from outside: ``bucketline submit`` to a folder, a real Redis, ``bucketline work``, results.

Every process is the product's own command. Nothing is switched off: input read from the store, admission by a gate with
limits that do not bind, prices, ledger, parts, merge, manifest. CPU and memory are the kernel's figures of each process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from bench.stand import cpu_s, peak_mb, pin
from worker.embedded import EmbeddedRedis

_START_S = 300.0  #: a machine that others use too may take long
CONFIG = """
redis_url = "{redis_url}"
store = "{store}"
default_provider = "bench"

[providers.bench]
base_url = "{base_url}"
api_key_env = "BENCH_KEY"
rpm = 60000000
tpm = 60000000000
price_as = "openai"

[worker]
concurrency = {connections}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One batch from submit to its manifest. CPU is beyond what the idle processes had used before."""

    lines: int
    submit_wall_s: float
    submit_cpu_s: float
    wall_s: float  #: from the end of submit to the manifest
    worker_cpu_s: tuple[float, ...]
    worker_peak_mb: tuple[float, ...]
    redis_cpu_s: float
    redis_waiting_bytes: int  #: what such a batch takes in Redis while it waits, where that was weighed
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def worker_ms(self) -> float:
        """CPU milliseconds of the workers for each request."""
        return sum(self.worker_cpu_s) * 1000 / self.lines


class Line:
    """A Redis, a store and some workers; batches go through one after the other."""

    def __init__(self, folder: Path, redis: EmbeddedRedis, base_url: str, connections: int) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.config = folder / "bucketline.toml"
        self.redis = redis
        self.client: Redis = Redis.from_url(redis.url)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.config.write_text(
            CONFIG.format(redis_url=redis.url, store=self.store, base_url=base_url, connections=connections)
        )

    def start_workers(self, count: int) -> None:
        for number in range(count):
            log = (self.folder / f"worker-{number}.log").open("ab")
            process = subprocess.Popen(self._command("work"), env=environment(), stderr=log)
            pin(process.pid, measured=True)
            if count > 1:
                os.sched_setaffinity(process.pid, set(range(os.cpu_count() or 1)))
            self.workers.append(process)
        deadline_s = time.monotonic() + _START_S
        while self.client.zcard("bl:workers") < len(self.workers):
            if time.monotonic() > deadline_s:
                told = (self.folder / "worker-0.log").read_text()[-800:]
                raise RuntimeError(f"The worker did not start within {_START_S:.0f} s. {told}")
            time.sleep(0.02)
        time.sleep(0.5)

    def stop_workers(self) -> None:
        for process in self.workers:
            process.send_signal(signal.SIGTERM)
        for process in self.workers:
            process.wait()
        self.workers.clear()

    def submit(self, source: Path) -> tuple[str, float, float]:
        """The batch's id, and the seconds and CPU seconds that the command took (interpreter start included)."""
        before = os.times()
        began_s = time.monotonic()
        done = subprocess.run(
            self._command("submit", str(source)), env=environment(), capture_output=True, check=False, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-800:])
        after = os.times()
        used_s = after.children_user + after.children_system - before.children_user - before.children_system
        return json.loads(done.stdout)["id"], time.monotonic() - began_s, used_s

    def weigh(self, first: Path, source: Path) -> int:
        """The bytes that a batch takes in Redis while it waits. A first one takes what is there once and for all, such as
        buffers and scripts.
        """
        self.submit(first)
        before = self._used_bytes()
        self.submit(source)
        return self._used_bytes() - before

    def batch(self, source: Path, lines: int, *, timeout_s: float = 1800, waiting: int = 0) -> Run:
        """Submit and wait for the manifest; ``waiting`` is what was weighed before."""
        before = [cpu_s(process.pid) for process in self.workers]
        redis_before = cpu_s(self.redis.pid)
        batch_id, submit_s, submit_cpu = self.submit(source)
        began_s = time.monotonic()
        manifest = self.store / "batches" / batch_id / "manifest.json"
        while not manifest.exists():
            if time.monotonic() - began_s > timeout_s or any(w.poll() is not None for w in self.workers):
                raise RuntimeError((self.folder / "worker-0.log").read_text()[-800:])
            time.sleep(0.01)
        wall_s = time.monotonic() - began_s
        time.sleep(0.1)
        document = json.loads(manifest.read_text())
        counts = document["counts"]
        if counts["completed"] != lines:
            raise RuntimeError(f"{batch_id}: {counts}")
        return Run(
            lines,
            submit_s,
            submit_cpu,
            wall_s,
            tuple(cpu_s(w.pid) - b for w, b in zip(self.workers, before, strict=True)),
            tuple(peak_mb(w.pid) for w in self.workers),
            cpu_s(self.redis.pid) - redis_before,
            waiting,
            document,
        )

    def idle(self, seconds: float) -> float:
        """Share of a core that workers with nothing to do use."""
        cpu = sum(cpu_s(w.pid) for w in self.workers)
        time.sleep(seconds)
        return (sum(cpu_s(w.pid) for w in self.workers) - cpu) / seconds

    def _used_bytes(self) -> int:
        return int(self.client.info("memory")["used_memory_dataset"])

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "worker.cli", "--config", str(self.config), *words]


def count_commands(ours: Line, step: Callable[[], object]) -> int:
    """Redis commands that clients send while a step runs; those inside scripts, and our own looking, are not counted."""
    return sum(commands_by_part(ours, step).values())


def commands_by_part(ours: Line, step: Callable[[], object]) -> Counter[str]:
    """The same by the part of the line that sends them."""
    counts: Counter[str] = Counter()
    over = threading.Event()
    began = threading.Event()

    def watch() -> None:
        held: Counter[str] = Counter()  # by connection: the beginning of a transaction goes to the part that it serves
        last: dict[str, str] = {}
        with Redis.from_url(ours.redis.url) as client, client.monitor() as seen:
            began.set()
            for one in seen.listen():
                if over.is_set():
                    return
                name, _, rest = one["command"].partition(" ")
                if one["client_type"] == "lua" or name in ("INFO", "PING", "CLIENT"):
                    continue
                connection = f"{one['client_address']}:{one['client_port']}"
                if name == "MULTI":
                    held[connection] += 1
                    continue
                part = last[connection] = last.get(connection, _OTHER) if name == "EXEC" else _part(name, rest)
                counts[part] += 1 + held.pop(connection, 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began.wait()
    step()
    over.set()
    ours.client.ping()  # something for the watcher to hear
    watcher.join()
    return counts


_OTHER = "signs of life and the rest"
_PARTS = (("arq:", "queue"), ("bl:queue", "queue"), ("bl:b:", "ledger"), ("bl:limit:", "gate"))


def _part(name: str, rest: str) -> str:
    """Whose command it is, by its first key; the ledger's leases have arq's names."""
    words = rest.split(" ", 3)
    if name.upper() == "EVALSHA":
        key = words[2] if len(words) > 2 else ""
        if key.startswith("arq:"):
            return "ledger"
    else:
        key = words[0]
    return next((part for beginning, part in _PARTS if key.startswith(beginning)), _OTHER)


def environment() -> dict[str, str]:
    return {**os.environ, "BENCH_KEY": "sk-bench", "NO_COLOR": "1"}


@contextlib.contextmanager
def line(folder: Path, base_url: str, *, connections: int, workers: int = 1) -> Iterator[Line]:
    """A line of its own in a fresh folder; its workers and its Redis end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedRedis(folder / "redis") as redis:
        pin(redis.pid, measured=False)
        made = Line(folder, redis, base_url, connections)
        try:
            made.start_workers(workers)
            yield made
        finally:
            made.stop_workers()
            made.client.close()
