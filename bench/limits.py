"""The gate against a provider that enforces a sliding minute: how much of the allowance is used, and who is refused.

    python bench/limits.py            both tables with 1, 2 and 4 worker processes, and the gate's share of the CPU
    python bench/limits.py --quick    2 worker processes, half a minute measured, and the share

Each run starts a real Redis, one process that is the provider (an exact window over what it let in, answers after a
random while) and the worker processes, which have more to send than the limits allow. Use is what the provider let in
after the first minute, as a share of its limit; refused is every call it turned away from the start on. The provider
counts tokens when a call arrives, and with what the call really uses; workers guess half or double of the output.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import socket
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from redis.asyncio import Redis

from bucketline.catalog import Limits
from worker.embedded import EmbeddedRedis
from worker.limiter import Demand, Gate

RPM = 6_000
TPM = 6_000_000
WINDOW_S = 60.0
WARM_S = 62.0
SMALLEST, LARGEST = 50, 20_000
OPEN_LINES = 400


@dataclass(slots=True)
class Row:
    """What one limit showed in one run."""

    name: str
    workers: int
    used: float
    refused: int
    calls: int
    peak: float


class Window:
    """Exactly what was let in during the last minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.log: deque[tuple[float, int]] = deque()
        self.used = self.peak = self.refused = self.calls = 0
        self.measured = 0
        self.from_s = self.until_s = 0.0

    def enter(self, now: float, amount: int) -> bool:
        while self.log and self.log[0][0] <= now - WINDOW_S:
            self.used -= self.log.popleft()[1]
        self.calls += 1
        if self.used + amount > self.limit:
            self.refused += 1
            return False
        self.log.append((now, amount))
        self.used += amount
        self.peak = max(self.peak, self.used)
        if self.from_s <= now < self.until_s:
            self.measured += amount
        return True


def provider(pipe: Connection, measure_s: float) -> None:
    """The provider's process: two accounts, one limited in requests, one in tokens."""
    windows = {"requests": Window(RPM), "tokens": Window(TPM)}
    began: list[float] = []
    dice = random.Random(5)

    async def call(request: web.Request) -> web.Response:
        now = time.monotonic()
        if not began:
            began.append(now)
            for window in windows.values():
                window.from_s, window.until_s = now + WARM_S, now + WARM_S + measure_s
        amount = int(request.query["n"])
        if not windows[request.match_info["account"]].enter(now, amount):
            return web.json_response({"error": "slow down"}, status=429, headers={"retry-after": "1"})
        await asyncio.sleep(0.05 + dice.expovariate(2.0))
        return web.json_response({"ok": True})

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/{account}", call)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        await web.SockSite(runner, sock, backlog=4096).start()
        pipe.send(sock.getsockname()[1])
        while not pipe.poll():
            await asyncio.sleep(0.05)
        await runner.cleanup()

    uvloop.run(serve())
    pipe.recv()
    pipe.send([(name, w.measured, w.refused, w.calls, w.peak, w.limit) for name, w in windows.items()])


def worker(number: int, redis_url: str, port: int, seconds: float) -> None:
    """One worker process: lines wait at the gate, calls go over real sockets."""
    uvloop.run(_work(number, redis_url, port, seconds))


async def _work(number: int, redis_url: str, port: int, seconds: float) -> None:
    redis: Redis = Redis.from_url(redis_url)
    gate = Gate(redis, f"worker-{number}")
    await gate.start()
    dice = random.Random(number)
    until = time.monotonic() + seconds
    requests = (("requests", Limits(rpm=RPM)),)
    tokens = (("tokens", Limits(tpm=TPM)),)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def line(account: str, scopes: Any) -> None:
        while time.monotonic() < until:
            size = round(SMALLEST * (LARGEST / SMALLEST) ** dice.random())
            asked = size // 2
            guess = size - asked
            real = 1 if account == "requests" else asked + (guess // 2 if dice.random() < 0.5 else guess * 2)
            permit = await gate.admit(scopes, Demand(asked, guess))
            async with session.post(f"http://127.0.0.1:{port}/{account}?n={real}") as reply:
                await reply.read()
            if reply.status == 429:
                gate.release(permit, sent=True)
                gate.pause(account, float(reply.headers["retry-after"]), "rate_limit")
            else:
                gate.settle(permit, input_tokens=asked, output_tokens=real - asked)

    lines = [asyncio.create_task(line("requests", requests)) for _ in range(OPEN_LINES)]
    lines += [asyncio.create_task(line("tokens", tokens)) for _ in range(OPEN_LINES)]
    await asyncio.sleep(seconds)
    for task in lines:
        task.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    await gate.close()
    await session.close()
    await redis.aclose()


def run(workers: int, measure_s: float) -> list[Row]:
    """One run of both accounts."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        ours, theirs = context.Pipe()
        there = context.Process(target=provider, args=(theirs, measure_s))
        there.start()
        port = ours.recv()
        seconds = WARM_S + measure_s + 3.0
        crew = [context.Process(target=worker, args=(n, server.url, port, seconds)) for n in range(workers)]
        for process in crew:
            process.start()
        for process in crew:
            process.join()
        ours.send("over")
        books = ours.recv()
        there.join()
    share = measure_s / WINDOW_S
    return [
        Row(name, workers, measured / (limit * share), refused, calls, peak / limit)
        for name, measured, refused, calls, peak, limit in books
    ]


async def _share(redis_url: str, port: int, gated: bool, calls: int, rate: int) -> float:
    """CPU seconds of this process for each call at ``rate`` calls a second."""
    redis: Redis = Redis.from_url(redis_url)
    gate = Gate(redis, "share")
    await gate.start()
    scopes = (("share", Limits(rpm=rate * 60, tpm=10**9, concurrency=10_000)),)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def one() -> None:
        permit = await gate.admit(scopes, Demand(100, 100)) if gated else None
        async with session.post(f"http://127.0.0.1:{port}/tokens?n=1") as reply:
            await reply.read()
        if permit is not None:
            gate.settle(permit, input_tokens=100, output_tokens=80)

    async def burst(count: int) -> None:
        tasks = []
        start = time.monotonic()
        for n in range(count):
            tasks.append(asyncio.create_task(one()))
            if n % 10 == 9:
                await asyncio.sleep(max(0.0, start + n / rate - time.monotonic()))
        await asyncio.gather(*tasks)

    await burst(rate)
    before = _cpu_s()
    await burst(calls)
    used = _cpu_s() - before
    await gate.close()
    await session.close()
    await redis.aclose()
    return used / calls


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def share() -> tuple[float, float]:
    """Seconds of CPU a call costs a worker that does nothing but send, without and with the gate."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        ours, theirs = context.Pipe()
        there = context.Process(target=provider, args=(theirs, 1.0))
        there.start()
        port = ours.recv()
        rounds = [
            [uvloop.run(_share(server.url, port, gated=gated, calls=5000, rate=1000)) for gated in (False, True)]
            for _ in range(4)
        ]
        bare, gated = (min(figures) for figures in zip(*rounds, strict=True))  # what others do only adds
        ours.send("over")
        ours.recv()
        there.join()
    return bare, gated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one run, half a minute measured")
    parser.add_argument("--workers", type=int, nargs="*", help="worker processes, one run for each number")
    parser.add_argument("--share", action="store_true", help="only the gate's share of the CPU")
    chosen = parser.parse_args()
    counts = [] if chosen.share else chosen.workers or ([2] if chosen.quick else [1, 2, 4])
    if counts:
        print(
            f"limit per sliding minute: {RPM:,} requests; {TPM:,} tokens, sizes {SMALLEST}-{LARGEST:,}, output guessed at half or double"
        )
        print(f"{'limit':<10}{'workers':>8}{'used':>9}{'refused':>9}{'calls':>8}{'fullest minute':>16}")
    for count in counts:
        for row in run(count, 30.0 if chosen.quick else 60.0):
            print(
                f"{row.name:<10}{row.workers:>8}{row.used:>9.1%}{row.refused:>9}{row.calls:>8}{row.peak:>16.1%}",
                flush=True,
            )
    bare, gated = share()
    print(
        f"CPU of a worker at 1,000 calls/s: {gated * 1e6:.0f} µs a call, of which the gate {(gated - bare) * 1e6:.0f} µs "
        f"({(gated - bare) / gated:.1%})"
    )


if __name__ == "__main__":
    main()
