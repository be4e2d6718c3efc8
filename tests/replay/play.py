"""One case from start to end, and several side by side.

Comes in: cases, and the S3 server they share. Goes out: results. Each case has a folder, a Redis, its providers, its
bucket and its workers to itself; whatever happens, all of them are gone afterwards, and the folder too unless kept.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.replay.adapter import NEEDS_SERVED, Bucketline
from tests.replay.asserts import Verdict, judge
from tests.replay.case import Case
from tests.replay.observe import items_of
from tests.replay.replies import ModelScript
from tests.replay.report import Outcome, Result
from tests.replay.s3proxy import S3Proxy
from tests.replay.scripted import Call, ScriptedProvider
from tests.replay.services import RedisServer
from tests.replay.steps import Stage, StepError, play_steps

__all__ = ["House", "play_all", "play_case"]

_GRACE_S = 3.0  #: for workers to end when a case is over


@dataclass(frozen=True, slots=True)
class House:
    """What all cases share: the store's address and client, the product's command, whether folders are kept."""

    s3_address: str
    s3: Any
    command: Sequence[str] | None = None
    keep: bool = False


async def play_all(
    cases: Sequence[Case], house: House, jobs: int, done: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Play the cases, ``jobs`` at a time, in the order given; ``done`` hears of each as it ends."""
    room = asyncio.Semaphore(jobs)

    async def one(case: Case) -> Result:
        async with room:
            result = await play_case(case, house)
        done(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(case)) for case in cases]
    return [task.result() for task in tasks]


async def play_case(case: Case, house: House) -> Result:
    """Play one case and judge it."""
    lacking = sorted(case.needs - NEEDS_SERVED)
    if lacking:
        return Result(case.name, Outcome.NOT_APPLICABLE, 0.0, trouble=(f"needs {', '.join(lacking)}",))
    folder = Path(tempfile.mkdtemp(prefix=f"replay-{case.id}-"))
    began = time.monotonic()
    try:
        verdicts, trouble = await _play(case, house, folder)
    except Exception as error:  # one case that cannot be played must not take the others along
        verdicts, trouble = [], [f"the runner itself failed: {_place_of(error)}"]
    finally:
        if not house.keep:
            shutil.rmtree(folder, ignore_errors=True)
    failed = trouble or any(not verdict.ok and verdict.level == "must" for verdict in verdicts)
    return Result(
        case.name,
        Outcome.FAIL if failed else Outcome.PASS,
        time.monotonic() - began,
        tuple(verdicts),
        tuple(trouble),
        str(folder) if house.keep else None,
    )


async def _play(case: Case, house: House, folder: Path) -> tuple[list[Verdict], list[str]]:
    """The verdicts, and what kept the case from being played as written."""
    async with AsyncExitStack() as stack:
        stage, providers = await _set(case, house, folder, stack)
        trouble = []
        try:
            async with asyncio.timeout(case.max_s):
                await play_steps(stage)
        except TimeoutError:
            trouble.append(f"not over after {case.max_s:g} s{_where(stage)}")
        except StepError as error:
            trouble.append(f"{error}{_where(stage)}")
        items = await items_of(stage)
        if house.keep:
            (folder / "items.json").write_text(json.dumps(items, indent=1, default=str), encoding="utf-8")
        trouble += [f"a call without a script: {call}" for each in providers for call in each.unscripted[:3]]
        return judge(case.asserts, items), trouble


async def _set(case: Case, house: House, folder: Path, stack: AsyncExitStack) -> tuple[Stage, list[ScriptedProvider]]:
    """Start what the case needs; ``stack`` ends it, the workers first."""
    started = time.monotonic()
    bucket = f"replay-{folder.name.rsplit('-', 1)[-1].lower().replace('_', 'x')}-{case.id.lower()}"
    await asyncio.to_thread(house.s3.create_bucket, Bucket=bucket)
    product = Bucketline(case, folder, house.s3, bucket, house.command)
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis")
    stack.callback(redis.close)
    await redis.start()
    calls: list[Call] = []
    scripts = {
        model: ModelScript(spec, lambda: time.monotonic() - started, time.time) for model, spec in case.replies.items()
    }
    providers = [
        await stack.enter_async_context(ScriptedProvider(name, scripts, calls, lambda: time.monotonic() - started))
        for name in case.config["providers"]
    ]
    weather = product.weather()
    store = house.s3_address
    if weather:
        store = (await stack.enter_async_context(S3Proxy(weather, house.s3_address))).address
    product.configure({each.name: each.address for each in providers}, redis.url, store)
    stage = Stage(case, product, folder, redis, calls, started)
    stack.push_async_callback(_end_workers, stage)
    return stage, providers


async def _end_workers(stage: Stage) -> None:
    try:
        await asyncio.gather(*(worker.end(_GRACE_S) for worker in stage.workers))
    finally:
        for worker in stage.workers:
            worker.close()


def _place_of(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r} at {Path(last.filename).name}:{last.lineno}"


def _where(stage: Stage) -> str:
    """The last words of a worker that ended by itself, the likeliest reason why nothing went on."""
    for worker in stage.workers:
        if worker.ended_itself:
            said = " ".join(worker.said()[1].split())
            return f"; a worker ended with {worker.exit}: {said[-300:]}"
    return ""
