"""A whole line inside a test's own loop: a simulated provider, a worker, a producer; and looks at what they show."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bucketline.settings import Settings
from producer.cause import Cause
from producer.client import Batch, Producer
from producer.monitor import Monitor, Snapshot
from producer.place import place_of
from producer.why import budget_scope, causes
from tests.unit.producer.lines_for_tests import chat_line
from worker.engine import Engine
from worker.service import open_engine, serve
from worker.sign import Signs
from worker.simulator import ModelConfig, Prices, ProviderConfig, Simulator, SimulatorConfig

LIMIT_S = 30.0  #: no event of these tests may take longer
KEY = "sk-sim"


@dataclass
class Line:
    """The producer's end of a running line, and its worker's engine."""

    producer: Producer
    engine: Engine | None
    simulator: Simulator
    signs: Signs | None

    async def submit(self, lines: int, **options: Any) -> Batch:
        return await self.producer.submit(
            [json.loads(chat_line(n)) for n in range(1, lines + 1)], check_keys=False, **options
        )

    async def look(self, batch_id: str, monitor: Monitor | None = None) -> Snapshot:
        """The line as ``why`` sees it, with the worker's newest sign."""
        if self.signs is not None:
            await self.signs.give()
        if monitor is None:
            monitor = Monitor(await self.producer.redis(), scopes=[budget_scope(batch_id)], listed=1)
        monitor.watch([batch_id])
        return await monitor.look_at_all()

    async def causes(self, batch_id: str) -> list[Cause]:
        snapshot = await self.look(batch_id)
        batch = snapshot.batch(batch_id) or await self.producer.status(batch_id)
        return causes(batch, snapshot, await place_of(await self.producer.redis(), batch))

    async def cause(self, batch_id: str, kind: str, when: Callable[[Cause], bool] = lambda _: True) -> Cause:
        """Wait until ``why`` names a reason of that kind, and return it."""
        found: list[Cause] = []
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    found = await self.causes(batch_id)
                    for cause in found:
                        if cause.kind == kind and when(cause):
                            return cause
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"never: {kind}; but {found}")


@contextlib.asynccontextmanager
async def running(
    redis_url: str,
    folder: Path,
    *,
    provider: dict[str, Any] | None = None,
    simulated: dict[str, Any] | None = None,
    worker: dict[str, Any] | None = None,
    retry: dict[str, Any] | None = None,
    key: str = KEY,
    works: bool = True,
) -> AsyncIterator[Line]:
    """Start it all; ``provider`` is our configuration of alpha, ``simulated`` is how alpha really is."""
    models = {"small": ModelConfig(Prices("1.00", "3.00"))}
    alpha = ProviderConfig(**({"models": models, "keys": {"main": KEY}} | (simulated or {})))
    async with Simulator(SimulatorConfig({"alpha": alpha}, seed=1)) as simulator, contextlib.AsyncExitStack() as stack:
        secret = folder / "key"
        secret.write_text(key)
        settings = Settings.model_validate(
            {
                "redis_url": redis_url,
                "store": str(folder / "store"),
                "providers": {
                    "alpha": {"base_url": simulator.base_url("alpha"), "api_key_file": str(secret), **(provider or {})}
                },
                "models": {"small": {"routes": [{"provider": "alpha", "model": "small"}]}},
                "prices": {"alpha/small": {"input": "1", "output": "3"}},
                "worker": {"grace_s": 0.1, "poll_s": 0.02, **(worker or {})},
                "retry": {"base_delay_s": 0.01, "max_delay_s": 0.05, **(retry or {})},
            }
        )
        producer = await stack.enter_async_context(Producer(settings=settings))
        if not works:
            yield Line(producer, None, simulator, None)
            return
        engine = await stack.enter_async_context(open_engine(settings))
        stop = asyncio.Event()
        served = asyncio.create_task(serve(engine, stop))
        try:
            yield Line(producer, engine, simulator, Signs(engine))
        finally:
            stop.set()
            await served


def kinds(found: Sequence[Cause]) -> list[str]:
    return [cause.kind for cause in found]
