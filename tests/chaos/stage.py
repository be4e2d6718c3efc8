"""The stage of a storm: real servers, simulated providers, and workers as processes of their own.

Comes in: a folder, how many workers. Goes out: a ``Stage`` on which everything can be struck: each worker has its own wire to
Redis, the store lies behind a proxy that fails on demand, each worker slot has its own key, so that the simulator's books tell
whose call was whose. Ended by process id, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis

from tests.chaos.wire import Wire
from tests.conformance.store.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed
from tests.conformance.store.seaweed import binary as seaweed_binary
from tests.replay.child import Child
from tests.replay.s3proxy import S3Proxy
from tests.replay.services import RedisServer, S3Server, plain_env

__all__ = ["BUCKET", "Stage", "Worker", "a_stage", "faketime_library", "s3_client"]

ROOT = Path(__file__).parents[2]
BUCKET = "storm"
_PRICES = {"input": "1.00", "output": "3.00"}


@dataclass
class Worker:
    """One slot: the process that is in it now."""

    slot: int
    wire: Wire
    child: Child | None = None
    starts: int = 0

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid


@dataclass
class Stage:
    """Everything that can be struck."""

    folder: Path
    redis: RedisServer
    store_weather: dict[str, Any]
    store_address: str
    simulator: Child
    simulator_root: str
    base_url: str
    workers: list[Worker]
    lease_s: float
    concurrency: int
    rpm: int
    ends: list[Child] = field(default_factory=list)

    @property
    def direct(self) -> Redis:
        """A client without any wire in between, for those who look on."""
        return Redis.from_url(self.redis.url, socket_timeout=2.0)

    def configure(self, slot: int | None) -> Path:
        """The configuration of one worker slot, or of the producer."""
        address = self.redis.url if slot is None else f"redis://{self.workers[slot].wire.address}/0"
        lines = [
            f'redis_url = "{address}"',
            f'store = "s3://{BUCKET}/some/prefix"',
            "[providers.alpha]",
            'wire = "openai"',
            f'base_url = "{self.base_url}"',
            'api_key_env = "SIM_KEY"',
            f"rpm = {self.rpm}",
            "burst_s = 0.5",
            "[worker]",
            f"lease_s = {self.lease_s}",
            f"concurrency = {self.concurrency}",
            "grace_s = 5",
            "[retry]",
            "max_attempts = 8",
            "base_delay_s = 0.2",
            "request_timeout_s = 60",
            '[prices."alpha/alpha-small"]',
            *(f'{name} = "{price}"' for name, price in _PRICES.items()),
        ]
        path = self.folder / f"config-{'producer' if slot is None else slot}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def environment(self, slot: int | None, clock_off: str | None = None) -> dict[str, str]:
        env = {
            **plain_env(),
            "PYTHONPATH": str(ROOT),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.store_address,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SIM_KEY": f"sk-slot-{0 if slot is None else slot}",
        }
        library = faketime_library()
        if clock_off is not None and library is not None:
            # The monotonic clock stays: a machine whose clock is off counts seconds as well as any other.
            env |= {"LD_PRELOAD": str(library), "FAKETIME": clock_off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        return env

    def start(self, worker: Worker, clock_off: str | None = None) -> None:
        worker.starts += 1
        worker.child = Child(
            [sys.executable, "-m", "worker.cli", "--config", str(self.configure(worker.slot)), "work"],
            folder=self.folder,
            name=f"worker-{worker.slot}-{worker.starts}",
            env=self.environment(worker.slot, clock_off),
        )
        self.ends.append(worker.child)

    async def command(self, *arguments: str, limit_s: float = 120.0) -> tuple[int, str]:
        """Run ``bucketline`` as the producer would; its exit code and standard output."""
        child = Child(
            [sys.executable, "-m", "worker.cli", "--config", str(self.configure(None)), *arguments],
            folder=self.folder,
            name=f"command-{arguments[0]}-{time.monotonic_ns()}",
            env=self.environment(None),
        )
        try:
            code = await child.wait(limit_s)
            return code, child.said()[0]
        finally:
            child.close()

    async def books(self, *, calls: bool = False) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.simulator_root}/__books?calls={int(calls)}") as answer,
        ):
            found: dict[str, Any] = await answer.json()
            return found

    def close(self) -> None:
        for child in [*self.ends, self.simulator]:
            child.signal(signal.SIGCONT)
            child.close()
        self.redis.close()


def faketime_library() -> Path | None:
    """libfaketime, where this machine has it."""
    for place in (
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ):
        path = Path(place, "faketime", "libfaketimeMT.so.1")
        if path.exists():
            return path
    return None


def _simulation(folder: Path, seed: int, slots: int, latency_s: float) -> Path:
    lines = [
        f"seed = {seed}",
        "record_calls = true",
        "[providers.alpha]",
        "keys = {" + ", ".join(f'slot{n} = "sk-slot-{n}"' for n in range(slots)) + "}",
        "[providers.alpha.models.alpha-small]",
        "prices = {" + ", ".join(f'{name} = "{price}"' for name, price in _PRICES.items()) + "}",
        "[providers.alpha.weather]",
        f"latency_s = {latency_s}",
        "sigma = 0.4",
        "max_latency_s = 8.0",
        "[providers.alpha.weather.rates]",
        "error_500 = 0.004",
        "error_503 = 0.004",
    ]
    path = folder / "simulator.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextlib.asynccontextmanager
async def a_stage(
    folder: Path, *, seed: int, slots: int, lease_s: float, concurrency: int, rpm: int, latency_s: float
) -> AsyncIterator[Stage]:
    """Everything started but the workers, the bucket made."""
    redis = RedisServer(folder)
    await redis.start()
    weather: dict[str, Any] = {"faults": []}
    simulator = Child(
        [sys.executable, "-m", "worker.simulator", "--config", str(_simulation(folder, seed, slots, latency_s))],
        folder=folder,
        name="simulator",
        env={**plain_env(), "PYTHONPATH": str(ROOT)},
    )
    stage: Stage | None = None
    try:
        async with contextlib.AsyncExitStack() as stack:
            store_address = await _store(folder, stack)
            proxy = await stack.enter_async_context(S3Proxy(weather, store_address, keep_host=True))
            port = int(redis.url.rsplit(":", 1)[1].split("/")[0])
            wires = [await stack.enter_async_context(Wire(port)) for _ in range(slots)]
            said = await _first_line(simulator)
            alpha = said["providers"]["alpha"]
            stage = Stage(
                folder, redis, weather, proxy.address, simulator, alpha["root_url"], alpha["base_url"],
                [Worker(slot, wire) for slot, wire in enumerate(wires)], lease_s, concurrency, rpm,
            )  # fmt: skip
            await asyncio.to_thread(_make_bucket, store_address)
            yield stage
    finally:
        if stage is not None:
            stage.close()
        simulator.close()
        redis.close()


async def _store(folder: Path, stack: contextlib.AsyncExitStack) -> str:
    """SeaweedFS where it is installed, for it is an S3 as others run it; else moto's server."""
    if seaweed_binary() is None:
        server = await stack.enter_async_context(S3Server(folder))
        return server.address
    place = folder / "seaweed"
    place.mkdir()
    seaweed = await asyncio.to_thread(Seaweed(place).__enter__)
    stack.callback(seaweed.__exit__)
    return seaweed.address


async def _first_line(child: Child) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.exit is None:
        line, end, _ = child.said()[0].partition("\n")
        if end:
            found: dict[str, Any] = json.loads(line)
            return found
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the simulator does not start: {child.said()[1][-500:]}")


def _make_bucket(address: str) -> None:
    client = s3_client(address)
    client.create_bucket(Bucket=BUCKET)
    client.close()


def s3_client(address: str) -> Any:
    """A client with the storm's keys that gives up at once."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", endpoint_url=address, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )  # fmt: skip
