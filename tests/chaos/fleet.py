"""A small fleet in one process, for storms: workers on a real Redis and a folder, simulated providers on real sockets.

Comes in: a simulator's configuration and ours. Goes out: a ``Fleet`` that submits lines, waits for the end, and hands out
the results. The parts are the product's own; only the providers are simulated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bucketline.batch import TERMINAL, BatchOptions
from bucketline.layout import errors_object, manifest_object, output_object
from bucketline.settings import Settings
from producer.intake import submit
from producer.watch import progress_of
from worker.embedded import EmbeddedRedis
from worker.engine import Engine
from worker.service import open_engine, serve
from worker.simulator import Simulator, SimulatorConfig

__all__ = ["Fleet", "Results", "a_fleet"]


@dataclass(frozen=True)
class Results:
    """A batch that is over."""

    manifest: dict[str, Any]
    answered: list[dict[str, Any]]
    failed: list[dict[str, Any]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [*self.answered, *self.failed]


@dataclass
class Fleet:
    """Workers, their Redis and store, and the providers they call."""

    simulator: Simulator
    settings: Settings
    engines: list[Engine] = field(default_factory=list)

    async def submit(self, lines: Iterable[dict[str, Any]], **options: Any) -> str:
        first = self.engines[0]
        document = await submit(lines, first.store, first.redis, self.settings, BatchOptions(**options))
        return document.id

    async def finished(self, batch_id: str, still_s: float = 120.0) -> Results:
        """Wait for a batch's end, however long it takes while anything moves. Raises TimeoutError where nothing does.

        A slow machine is no fault of the line's; a batch in which neither an outcome nor a call is added for ``still_s`` hangs.
        """
        first, moved_s, before = self.engines[0], time.monotonic(), None
        while (progress := await progress_of(batch_id, first.ledger, first.store)).state not in TERMINAL:
            now = (progress.state, progress.counts, self.simulator.books()["totals"]["calls"])
            if now != before:
                moved_s, before = time.monotonic(), now
            elif time.monotonic() - moved_s > still_s:
                open_lines = [engine.runner.open_lines for engine in self.engines]
                raise TimeoutError(f"nothing moves: {progress}, calls {now[2]}, open lines {open_lines}")
            await asyncio.sleep(0.05)
        manifest, output, errors = [
            await first.store.get(name(batch_id)) for name in (manifest_object, output_object, errors_object)
        ]
        return Results(orjson.loads(manifest), _rows(output), _rows(errors))


@contextlib.asynccontextmanager
async def a_fleet(
    folder: Path, config: SimulatorConfig, settings: dict[str, Any], *, workers: int = 2
) -> AsyncIterator[Fleet]:
    """Start everything. ``settings`` is the configuration without addresses and keys: those are the simulator's."""
    async with Simulator(config) as simulator, EmbeddedRedis(folder / "redis") as redis:
        document = {"redis_url": redis.url, "store": str(folder / "store"), **settings}
        document["providers"] = {
            name: {**given, "base_url": simulator.base_url(name), "api_key_env": f"SIMULATED_{name.upper()}_KEY"}
            for name, given in settings["providers"].items()
        }
        for name, provider in config.providers.items():
            os.environ[f"SIMULATED_{name.upper()}_KEY"] = next(iter(provider.keys.values()))
        fleet = Fleet(simulator, Settings.model_validate(document))
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(workers):
                fleet.engines.append(await stack.enter_async_context(open_engine(fleet.settings)))
            stop = asyncio.Event()
            serving = [asyncio.create_task(serve(engine, stop)) for engine in fleet.engines]
            try:
                yield fleet
            finally:
                stop.set()
                await asyncio.gather(*serving)


def _rows(raw: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in raw.split(b"\n") if line]
