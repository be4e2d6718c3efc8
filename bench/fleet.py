"""How fast a fleet of whole workers fills its calls in flight, and how fast a dead worker's come back.

    python -m bench.fleet [--quick]

Every process is the product's own command, the provider counts the calls that it has at hand. First twelve workers
without work are given a batch on an account that allows 1,200 calls in flight: the time from the call of ``submit``
until the provider has 1,200 at hand. Then four workers share 400, one is killed with SIGKILL: the time until 390 are in
flight again, and how full the allowance is before the death and after that time. Last, one process with four places and
answers after 50 ms: the share of the places' time in which calls were in flight, which is what Little's law allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from redis.asyncio import Redis

from bench.ours import Line
from bench.shown import HEAD, Shown
from bench.stand import slow_provider, write_input
from bucketline.catalog import Limits
from producer import Producer
from worker.embedded import EmbeddedRedis
from worker.limiter import Demand, Gate

__all__ = ["few_places", "run"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A fleet without work, its provider's books at hand."""

    line: Line
    source: Path
    books: http.client.HTTPConnection

    def in_flight(self) -> int:
        self.books.request("GET", "/stats")
        return int(json.loads(self.books.getresponse().read())["in_flight"])

    def until(self, calls: int, within_s: float) -> float:
        """The moment at which the provider has so many calls at hand, or at which nobody waits for it any more."""
        until_s = time.monotonic() + within_s
        while self.in_flight() < calls and time.monotonic() < until_s:
            time.sleep(0.01)
        return time.monotonic()

    def use(self, seconds: float, allowed: int) -> float:
        """How full the allowance is over the next seconds."""
        looks, until_s = [], time.monotonic() + seconds
        while time.monotonic() < until_s:
            looks.append(self.in_flight())
            time.sleep(0.05)
        return sum(looks) / len(looks) / allowed

    def submit(self) -> float:
        """Submit the batch from this process; the moment of the call."""

        async def send() -> float:
            async with Producer(str(self.line.config)) as producer:
                began_s = time.monotonic()
                await producer.submit(str(self.source))
                return began_s

        return asyncio.run(send())


@contextlib.contextmanager
def stage(workers: int, allowed: int, own: int, latency_s: float, lines: int) -> Iterator[Stage]:
    """So many whole workers, each for ``own`` calls in flight at most, on an account that allows so many in all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_input(folder / "in.jsonl", lines)
        with slow_provider(latency_s=latency_s) as base_url, EmbeddedRedis(folder) as redis:
            os.environ["BENCH_KEY"] = "sk-bench"
            line = Line(folder, redis, base_url, own)
            line.config.write_text(
                line.config.read_text().replace("rpm = 60000000\n", f"rpm = 60000000\nconcurrency = {allowed}\n")
            )
            books = http.client.HTTPConnection(urlsplit(base_url).netloc)
            try:
                for start in range(0, workers, 4):
                    line.start_workers(min(4, workers - start))
                yield Stage(line, source, books)
            finally:
                books.close()
                for process in line.workers:
                    process.kill()  # the batch is of no use any more
                for process in line.workers:
                    process.wait()


def fill(workers: int = 12, allowed: int = 1200) -> list[Shown]:
    # Each worker has places for little more than its share: all twelve are needed.
    with stage(workers, allowed, allowed * 11 // 10 // workers, latency_s=8.0, lines=8000) as fleet:
        began_s = fleet.submit()
        took_s = fleet.until(allowed, within_s=30.0) - began_s
        what = f"{workers} workers, from submit to {allowed:,} calls in flight"
        return [Shown(what, took_s, 2.0, "s", at_least=False, beside=f"{fleet.in_flight():,} in flight")]


def death(watch_s: float, workers: int = 4, allowed: int = 400) -> list[Shown]:
    with stage(workers, allowed, allowed, latency_s=4.0, lines=4000 + round(200 * watch_s)) as fleet:
        fleet.submit()
        fleet.until(allowed * 39 // 40, within_s=30.0)
        before = fleet.use(watch_s, allowed)
        killed = fleet.line.workers[0]
        killed.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        killed.wait()
        time.sleep(4.5)  # the provider goes on with what it has at hand
        gap = fleet.in_flight()
        back_s = fleet.until(allowed * 39 // 40, within_s=40.0) - killed_s
        after = fleet.use(watch_s, allowed)
    return [
        Shown(
            f"one of {workers} workers killed, its calls in flight are back", back_s, 20.0, "s", at_least=False,
            beside=f"{gap} of {allowed} in flight meanwhile",
        ),
        Shown(f"{workers} workers, {allowed} in flight: allowance used before", before, 0.90),
        Shown(f"{workers - 1} workers, after its calls are back", after, 0.90),
    ]  # fmt: skip


def few_places(seconds: float, places: int = 4, call_s: float = 0.05) -> list[Shown]:
    """A gate with more lines than places; how long each call really took is measured, so a late loop falls out."""

    async def drive(url: str) -> tuple[float, int]:
        redis: Redis = Redis.from_url(url)
        gate = Gate(redis, "bench")
        scopes = (("few", Limits(concurrency=places, rpm=600_000)),)
        dice, flown_s, calls = random.Random(3), 0.0, 0

        async def line() -> None:
            nonlocal flown_s, calls
            while True:
                permit = await gate.admit(scopes, Demand(10, 10))
                began_s = time.monotonic()
                await asyncio.sleep(call_s * dice.uniform(0.5, 1.5))
                flown_s += time.monotonic() - began_s
                calls += 1
                gate.settle(permit, input_tokens=10, output_tokens=10)

        tasks = [asyncio.create_task(line()) for _ in range(4 * places)]
        await asyncio.sleep(1.0)
        flown_s, calls, began_s = 0.0, 0, time.monotonic()
        await asyncio.sleep(seconds)
        used = flown_s / (time.monotonic() - began_s) / places
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await gate.close()
        await redis.aclose()
        return used, calls

    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        used, calls = uvloop.run(drive(server.url))
    what = f"{places} places, answers after {call_s * 1000:.0f} ms: of Little's law"
    return [Shown(what, used, 0.95, beside=f"{calls / seconds:.0f} calls/s")]


def run(*, quick: bool) -> Iterator[Shown]:
    yield from few_places(4.0 if quick else 10.0)
    yield from fill()
    yield from death(5.0 if quick else 15.0)


def main() -> None:
    print(HEAD)
    missed = False
    for row in run(quick="--quick" in sys.argv):
        print(row, flush=True)
        missed |= not row.met
    sys.exit(missed)


if __name__ == "__main__":
    main()
