"""One worker in this process, with everything around it at hand: its Redis, the wire to it, its store, the provider's books."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Redis

from bucketline.batch import TERMINAL, BatchOptions, State
from bucketline.connect import open_redis
from bucketline.layout import errors_object, manifest_object, output_object
from bucketline.ledger import Ledger
from bucketline.settings import Settings
from bucketline.store import Store, StoreError, StoreFull, open_store
from producer.intake import submit
from producer.watch import progress_of
from tests.chaos.wire import Wire
from tests.replay.services import RedisServer
from worker.engine import Engine
from worker.service import open_engine, serve
from worker.simulator import ModelConfig, Prices, ProviderConfig, Simulator, SimulatorConfig, Weather

__all__ = ["Scene", "a_scene"]

KEY = "sk-sim"


@dataclass
class Scene:
    """What a test strikes and looks at. ``engine`` is the worker that runs now."""

    folder: Path
    redis: RedisServer
    wire: Wire
    simulator: Simulator
    settings: Settings
    store: Store
    _worker: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _engine: Engine | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    @property
    def calls(self) -> int:
        """Calls that the provider answered well."""
        return int(self.simulator.books()["totals"]["delivered"])

    def client(self) -> Redis:
        """A client past the wire."""
        return Redis.from_url(self.redis.url)

    async def start(self) -> Engine:
        """Start a worker."""
        self._stop = asyncio.Event()
        self._worker = contextlib.AsyncExitStack()
        engine = self._engine = await self._worker.enter_async_context(open_engine(self.settings))
        served = asyncio.create_task(serve(engine, self._stop))
        self._worker.push_async_callback(self._ended, served)
        return engine

    async def _ended(self, served: asyncio.Task[None]) -> None:
        self._stop.set()
        await served

    async def stop(self) -> None:
        """Let the worker end in order."""
        await self._worker.aclose()
        self._engine = None

    @staticmethod
    def line(number: int) -> dict[str, Any]:
        body = {"model": "alpha/alpha-small", "messages": [{"role": "user", "content": f"tag:l{number} say something"}]}
        return {"custom_id": f"l{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}

    async def submit(self, lines: int, **options: Any) -> str:
        return await self.submit_rows([self.line(n) for n in range(1, lines + 1)], **options)

    async def submit_at(self, address: str, lines: int) -> str:
        """The same by another way to Redis."""
        return await self.submit_rows([self.line(n) for n in range(1, lines + 1)], address)

    async def submit_rows(self, rows: list[dict[str, Any]], address: str | None = None, **options: Any) -> str:
        redis = open_redis(address or self.redis.url)
        try:
            document = await submit(rows, self.store, redis, self.settings, BatchOptions(**options))
            return document.id
        finally:
            await redis.aclose()

    async def until(self, batch_id: str, done: int, within_s: float = 30.0) -> None:
        """Wait until so many lines are recorded."""
        async with asyncio.timeout(within_s), self.client() as redis:
            ledger = Ledger(redis)
            while (progress := await ledger.progress(batch_id)) is None or progress.counts.done < done:
                await asyncio.sleep(0.02)

    async def results(self, batch_id: str, within_s: float = 60.0) -> tuple[dict[str, Any], list[Any], list[Any]]:
        """Wait for the manifest; it, the answered and the other lines."""
        async with asyncio.timeout(within_s):
            while True:
                with contextlib.suppress(StoreError):
                    manifest = orjson.loads(await self.store.get(manifest_object(batch_id)))
                    break
                await asyncio.sleep(0.05)
        output, errors = [await self.store.get(name(batch_id)) for name in (output_object, errors_object)]
        return manifest, _rows(output), _rows(errors)

    async def state(self, batch_id: str) -> State:
        async with self.client() as redis:
            return (await progress_of(batch_id, Ledger(redis), self.store)).state

    async def is_over(self, batch_id: str) -> bool:
        return await self.state(batch_id) in TERMINAL


def _rows(raw: bytes) -> list[Any]:
    return [orjson.loads(one) for one in raw.split(b"\n") if one]


@contextlib.asynccontextmanager
async def a_scene(
    folder: Path, *, latency_s: float = 0.2, concurrency: int = 20, lease_s: float = 3.0, **worker: Any
) -> AsyncIterator[Scene]:
    """A Redis with its wire, a folder, a simulated provider; the worker is started by the test."""
    import os

    os.environ["SIM_KEY"] = KEY
    models = {"alpha-small": ModelConfig(Prices("1.00", "3.00"))}
    alpha = ProviderConfig(models=models, keys={"main": KEY}, weather=Weather(latency_s=latency_s))
    redis = RedisServer(folder)
    await redis.start()
    try:
        async with (
            Simulator(SimulatorConfig({"alpha": alpha}, record_calls=True)) as simulator,
            Wire(int(redis.url.rsplit(":", 1)[1].split("/")[0])) as wire,
        ):
            settings = Settings.model_validate(
                {
                    "redis_url": f"redis://{wire.address}/0",
                    "store": str(folder / "store"),
                    "providers": {
                        "alpha": {
                            "wire": "openai",
                            "base_url": simulator.base_url("alpha"),
                            "api_key_env": "SIM_KEY",
                            "rpm": 100_000,
                        }
                    },
                    "prices": {"alpha/alpha-small": {"input": "1.00", "output": "3.00"}},
                    "worker": {"lease_s": lease_s, "concurrency": concurrency, "grace_s": 5, **worker},
                }
            )
            scene = Scene(folder, redis, wire, simulator, settings, open_store(str(folder / "store")))
            try:
                yield scene
            finally:
                await scene.stop()
                await scene.store.close()
    finally:
        redis.close()


class FullForAWhile:
    """A store whose disk is full until it is told otherwise; the input and the documents are there already."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.full = True
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, data: bytes, **named: Any) -> str:
        if self.full:
            self.refused += 1
            raise StoreFull(f"No room for {key}.")
        return await self._store.put(key, data, **named)
