"""How much of an allowance the gate lets through, against a provider that enforces a sliding minute.

Each run starts a real Redis, one process that is the provider (an exact window over what it let in, answers after a
random while) and worker processes that have more to send than the limits allow: gates, lines and real sockets. Use is
what the provider let in after the first minute, as a share of its limit; refused is every call it turned away from the
start on. There are four accounts, used at once: one limited in requests, three in tokens with sizes from 50 to 20,000.
The provider counts tokens when a call arrives, with what the call really uses: output that is half of the workers'
guess, double of it, or either by chance. Called by ``bench.limits``.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection

import aiohttp
import uvloop
from aiohttp import web
from redis.asyncio import Redis

from bench.shown import Shown
from bucketline.catalog import Limits
from worker.embedded import EmbeddedRedis
from worker.limiter import Demand, Gate

__all__ = ["run"]

RPM, TPM = 6_000, 6_000_000
WINDOW_S, WARM_S = 60.0, 62.0
SMALLEST, LARGEST = 50, 20_000
OPEN_LINES = 400
#: account → its limit a minute
ACCOUNTS = {"requests": RPM, "tokens, half": TPM, "tokens, double": TPM, "tokens, either": TPM}
#: what the output really is, as a multiple of the guess
_REAL: dict[str, Callable[[random.Random], float]] = {
    "tokens, half": lambda _: 0.5,
    "tokens, double": lambda _: 2.0,
    "tokens, either": lambda dice: dice.choice((0.5, 2.0)),
}


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
    """The provider's process."""
    windows = {name: Window(limit) for name, limit in ACCOUNTS.items()}
    began: list[float] = []
    dice = random.Random(5)

    async def call(request: web.Request) -> web.Response:
        now = time.monotonic()
        if not began:
            began.append(now)
            for window in windows.values():
                window.from_s, window.until_s = now + WARM_S, now + WARM_S + measure_s
        amount = int(request.query["n"])
        if not windows[request.query["account"]].enter(now, amount):
            return web.json_response({"error": "slow down"}, status=429, headers={"retry-after": "1"})
        await asyncio.sleep(0.05 + dice.expovariate(2.0))
        return web.json_response({"ok": True})

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/", call)
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
    pipe.send({name: (w.measured, w.refused, w.calls, w.peak) for name, w in windows.items()})


def worker(number: int, redis_url: str, port: int, seconds: float) -> None:
    """One worker process: lines wait at the gate, calls go over real sockets."""
    uvloop.run(_work(number, redis_url, port, seconds))


async def _work(number: int, redis_url: str, port: int, seconds: float) -> None:
    redis: Redis = Redis.from_url(redis_url)
    gate = Gate(redis, f"worker-{number}")
    await gate.start()
    dice = random.Random(number)
    until = time.monotonic() + seconds
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def line(account: str) -> None:
        scopes = ((account, Limits(rpm=RPM) if account == "requests" else Limits(tpm=TPM)),)
        while time.monotonic() < until:
            size = round(SMALLEST * (LARGEST / SMALLEST) ** dice.random())
            asked = size // 2
            guess = size - asked
            real = 1 if account == "requests" else asked + round(guess * _REAL[account](dice))
            permit = await gate.admit(scopes, Demand(asked, guess))
            query = {"account": account, "n": str(real)}
            async with session.post(f"http://127.0.0.1:{port}/", params=query) as reply:
                await reply.read()
            if reply.status == 429:
                gate.release(permit, sent=True)
                gate.pause(account, float(reply.headers["retry-after"]), "rate_limit")
            else:
                gate.settle(permit, input_tokens=asked, output_tokens=real - asked)

    lines = [asyncio.create_task(line(account)) for account in ACCOUNTS for _ in range(OPEN_LINES)]
    await asyncio.sleep(seconds)
    for task in lines:
        task.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    await gate.close()
    await session.close()
    await redis.aclose()


def run(workers: int, measure_s: float) -> list[Shown]:
    """One run of all accounts with so many worker processes."""
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
    rows = []
    for name, (measured, refused, calls, peak) in books.items():
        limit = ACCOUNTS[name]
        by_requests = name == "requests"
        used = measured / (limit * measure_s / WINDOW_S)
        what = f"{name}, {workers} worker{'s' if workers > 1 else ''}: "
        beside = f"fullest minute {peak / limit:.1%}, {calls:,} calls"
        rows.append(Shown(what + "allowance used", used, 0.97 if by_requests else 0.92, beside=beside))
        most = 0.0 if by_requests else 0.001
        rows.append(Shown(what + "refused", refused / calls, most, at_least=False, beside=f"{refused} calls"))
    return rows
