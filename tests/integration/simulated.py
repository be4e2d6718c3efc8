"""What the simulator's tests share: one provider named alpha, and a plain client that sees what an SDK would hide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from worker.simulator import ModelConfig, Prices, ProviderConfig, Simulator, SimulatorConfig

KEY = "sk-sim"


def config_of(seed: int = 1, one_port: int | None = None, **fields: Any) -> SimulatorConfig:
    models = {"small": ModelConfig(Prices("1.00", "3.00")), "small-think": ModelConfig(Prices("1.00", "3.00"))}
    alpha = ProviderConfig(**{"models": models, "keys": {"main": KEY}} | fields)
    return SimulatorConfig({"alpha": alpha}, seed=seed, one_port=one_port, record_calls=True)


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": text}], **fields}


class Caller:
    """A plain client, which sees what the SDK would hide."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self._root, self._session = simulator.root_url("alpha"), session

    async def post(
        self, body: Mapping[str, Any], path: str = "/v1/chat/completions", timeout_s: float = 10
    ) -> tuple[int, bytes]:
        async with self._session.post(
            self._root + path,
            data=orjson.dumps(body),
            headers={"authorization": f"Bearer {KEY}", "anthropic-version": "2023-06-01"},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            return response.status, await response.read()

    async def outcome(self, body: Mapping[str, Any]) -> str:
        """The status and the body's digest, or the name of what broke."""
        try:
            status, answer = await self.post(body)
        except aiohttp.ClientError as error:
            return type(error).__name__
        return f"{status} {answer.hex()}"


@asynccontextmanager
async def simulated(config: SimulatorConfig, **tools: Any) -> AsyncIterator[tuple[Simulator, Caller]]:
    async with Simulator(config, **tools) as simulator, aiohttp.ClientSession() as session:
        yield simulator, Caller(simulator, session)


def alpha(simulator: Simulator) -> dict[str, Any]:
    report: dict[str, Any] = simulator.books(calls=True)["providers"]["alpha"]
    return report
