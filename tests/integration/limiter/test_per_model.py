"""Limits of single models under one account: a refusal, or a header, of one model leaves the others alone."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bucketline import keys
from bucketline.batch import BatchDocument, BatchOptions
from bucketline.catalog import Limits
from bucketline.outcome import Outcome
from bucketline.request import Form, Request
from bucketline.settings import Settings
from tests.integration.line.scripted import Reply, answer, error, providers
from worker.control import OpenBatch
from worker.engine import Engine
from worker.life import Life
from worker.limiter import Demand, Gate
from worker.limiter.scopes import read_scopes
from worker.service import open_engine

REFUSED_S = 60


async def ask(engine: Engine, model: str, within_s: float = 10.0) -> Outcome:
    document = BatchDocument(
        id="batch_x", source="x", created_s=time.time(), options=BatchOptions(), lines=1, rejected=0, last_line=1,
        input_bytes=0, input_sha256="", shards=[],
    )  # fmt: skip
    batch = OpenBatch(document)
    batch.running.set()
    body = {"model": model, "messages": [{"role": "user", "content": "q"}]}
    request = Request(1, "a", Form.CHAT, model, json.dumps(body).encode(), body)
    async with asyncio.timeout(within_s):
        return await engine.runner.dispatcher.run(Life(request), batch)


async def until_paused(redis: Redis, scope: str) -> None:
    async with asyncio.timeout(10):
        while await redis.hget(keys.gate_state(scope), "nb.why") is None:  # type: ignore[misc]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("limits", "says", "paused", "others_go"),
    [
        ({"models": {"slow": {"rpm": 600}}}, "Rate limit reached for requests", "alpha/slow", True),
        ({"tpm": 10**6, "models": {"slow": {"rpm": 600}}}, "Rate limit reached for tokens", "alpha", False),
        ({"rpm": 600}, "Rate limit reached for requests", "alpha", False),
    ],
)
async def test_a_refusal_pauses_the_scope_whose_limit_it_names(
    limits: dict[str, Any],
    says: str,
    paused: str,
    others_go: bool,
    redis_url: str,
    redis_client: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPHA_KEY", "k")
    async with providers("alpha") as found:
        alpha = found["alpha"]
        refusal: Reply = error(429, "rate_limit_exceeded", says, **{"retry-after": str(REFUSED_S)})

        async def reply(body: dict[str, Any]) -> Any:
            return await (refusal if body["model"] == "slow" else answer())(body)

        alpha.replies = [reply]
        provider = {"base_url": alpha.url, "api_key_env": "ALPHA_KEY", **limits}
        settings = Settings.model_validate(
            {"redis_url": redis_url, "store": str(tmp_path), "providers": {"alpha": provider}}
        )
        async with open_engine(settings) as engine:
            slow = asyncio.create_task(ask(engine, "alpha/slow", within_s=REFUSED_S))
            await until_paused(redis_client, paused)
            quick = asyncio.create_task(ask(engine, "alpha/quick"))
            done, _ = await asyncio.wait([quick], timeout=10.0 if others_go else 0.3)
            assert bool(done) is others_go
            for task in (slow, quick):
                task.cancel()
            await asyncio.gather(slow, quick, return_exceptions=True)
        assert {state.name for state in await read_scopes(redis_client) if state.paused_s} == {paused}


async def test_headers_lower_the_bucket_of_the_scope_that_has_the_limit(redis_url: str, redis_client: Redis) -> None:
    """What is left of a model's requests says nothing about the tokens of its account, and the other way round."""
    gate = Gate(redis_client, "w")
    await gate.start()
    where = (("alpha", Limits(tpm=600_000)), ("alpha/m", Limits(rpm=6000)))
    gate.settle(await gate.admit(where, Demand(10, 10)))
    said = {
        "x-ratelimit-limit-requests": "3000",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }
    gate.observe(where, {**said, "x-ratelimit-remaining-tokens": "0"})

    async def level(scope: str, letter: str) -> int:
        return int(await redis_client.hget(keys.gate_state(scope), f"{letter}.level") or 1)  # type: ignore[misc]

    async with asyncio.timeout(10):
        while await level("alpha", "t") >= 0 or await level("alpha/m", "q") >= 0:
            await asyncio.sleep(0.005)
        while {(s.name, d.name, d.limit) for s in await read_scopes(redis_client) for d in s.dimensions} != {
            ("alpha", "tpm", 600_000),
            ("alpha/m", "rpm", 3000),
        }:
            await asyncio.sleep(0.005)
    await gate.close()
