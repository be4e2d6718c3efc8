"""How fast a fleet fills its calls in flight, and how fast a dead worker's come back.

    python bench/fleet.py

Twelve worker processes with waiting lines are let loose at one moment on an account that allows 1,200 calls in flight:
the time until all 1,200 are. Then four processes share 400, one is killed with SIGKILL: the time until the other three
hold 390 of them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import tempfile
import time
from multiprocessing.connection import Connection

import uvloop
from redis.asyncio import Redis

from bucketline.catalog import Limits
from worker.embedded import EmbeddedRedis
from worker.limiter import Demand, Gate


def crew(number: int, redis_url: str, most: int, lines: int, call_s: float, pipe: Connection) -> None:
    """A worker process: its lines are admitted, fly for a while, and settle; tells what it holds, ten times a second."""
    uvloop.run(_crew(number, redis_url, most, lines, call_s, pipe))


async def _crew(number: int, redis_url: str, most: int, lines: int, call_s: float, pipe: Connection) -> None:
    redis: Redis = Redis.from_url(redis_url)
    gate = Gate(redis, f"worker-{number}")
    await gate.start()
    scopes = (("alpha", Limits(concurrency=most)),)
    held = 0
    pipe.send("ready")
    start_at: float = await asyncio.to_thread(pipe.recv)
    await asyncio.sleep(start_at - time.monotonic())

    async def line() -> None:
        nonlocal held
        while True:
            permit = await gate.admit(scopes, Demand(10, 10))
            held += 1
            await asyncio.sleep(call_s)
            held -= 1
            gate.settle(permit, input_tokens=10, output_tokens=10)

    tasks = [asyncio.create_task(line()) for _ in range(lines)]
    while not pipe.poll():
        pipe.send((time.monotonic(), held))
        await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await gate.close()
    await redis.aclose()


class Crew:
    """Worker processes on a Redis of their own, all let loose at one moment."""

    def __init__(self, redis_url: str, workers: int, most: int, call_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes = []
        for number in range(workers):
            ours, theirs = context.Pipe()
            lines = 2 * most // workers
            process = context.Process(target=crew, args=(number, redis_url, most, lines, call_s, theirs))
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)
        for pipe in self.pipes:
            pipe.recv()
        self.began = time.monotonic() + 0.5
        for pipe in self.pipes:
            pipe.send(self.began)
        self.held = [0] * workers

    def look(self) -> int:
        """Calls in flight over all that are alive."""
        for number, pipe in enumerate(self.pipes):
            while self.processes[number].is_alive() and pipe.poll():
                _, self.held[number] = pipe.recv()
        return sum(self.held)

    def until(self, held: int, deadline_s: float) -> float:
        """Seconds from now until so many calls are in flight."""
        now = time.monotonic()
        while self.look() < held and time.monotonic() - now < deadline_s:
            time.sleep(0.01)
        return time.monotonic() - now

    def end(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            if process.is_alive():
                pipe.send("over")
        for process in self.processes:
            process.join()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        fleet = Crew(server.url, 12, 1200, 5.0)
        time.sleep(max(0.0, fleet.began - time.monotonic()))
        print(f"12 workers, 1,200 in flight: all after {fleet.until(1200, 20.0):.2f} s")
        fleet.end()
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        fleet = Crew(server.url, 4, 400, 2.0)
        fleet.until(390, 20.0)
        time.sleep(3.0)
        fleet.look()
        share = fleet.held[0]
        process_id = fleet.processes[0].pid
        assert process_id is not None
        os.kill(process_id, signal.SIGKILL)
        fleet.processes[0].join()
        fleet.held[0] = 0
        print(f"4 workers, 400 in flight, one killed with {share}: 390 again after {fleet.until(390, 40.0):.1f} s")
        fleet.end()


if __name__ == "__main__":
    main()
