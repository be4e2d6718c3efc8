"""What happens in a case, in order: each step of the scenario, driven through the product's own doors.

Comes in: the steps and the stage they play on. Goes out: on the stage, the workers, the status samples and the times
that mattered. Waiting asks the status command; the store's objects only tell when asking is worth its while.
Raises StepError when a step is not understood or cannot be done.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.replay.adapter import Bucketline
from tests.replay.case import Case
from tests.replay.child import Child
from tests.replay.items import Batch
from tests.replay.scripted import Call
from tests.replay.services import RedisServer

__all__ = ["Put", "Stage", "StepError", "play_steps"]

_LOOK_S = 0.25  #: between looks at the store
_ASK_S = 3.0  #: the longest time between two questions to the status command
_ASK_SOON_S = 1.0  #: the same, once something is over
_COMMAND_S = 60.0  #: patience with a command
_NO_NEW_BATCH_S = 6.0  #: after a put, how long a new batch of a known key may take before we think there is none
_MEASURE_S = 0.5


class StepError(Exception):
    """A step could not be done; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Put:
    """One upload, on the case's clock and on the wall's."""

    key: str
    data: bytes
    t: float
    wall: float


@dataclass(slots=True)
class Stage:
    """All that the steps of one case touch; times in ``marks`` are seconds on the case's clock."""

    case: Case
    product: Bucketline
    folder: Path
    redis: RedisServer
    calls: list[Call]
    started: float = field(default_factory=time.monotonic)
    puts: list[Put] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)
    killed: set[int] = field(default_factory=set)
    over: frozenset[str] = frozenset()  #: the objects that say that something is over
    over_t: float = float("-inf")  #: when the last of them came
    finals: frozenset[tuple[str, float]] = frozenset()
    final_t: float = float("-inf")  #: when the last batch was seen to have reached its end
    premature: dict[str, float] = field(default_factory=dict)  #: batch seen completed without its files → since when
    premature_s: float = 0.0
    commands: int = 0
    polls: list[asyncio.Task[None]] = field(default_factory=list)
    terminal: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> float:
        """Seconds since the case began."""
        return time.monotonic() - self.started

    def latest(self, key: str) -> Batch | None:
        """The newest batch of an inbox key among those last seen."""
        return next((batch for batch in reversed(self.batches) if batch.key == key), None)


async def play_steps(stage: Stage) -> None:
    """All steps, in order; background samples end with them."""
    measuring = asyncio.create_task(_measure(stage))
    try:
        for step in stage.case.steps:
            await _play(step, stage)
    finally:
        background = [measuring, *stage.polls]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


async def _play(step: dict[str, Any], stage: Stage) -> None:
    match step:
        case {"put": {"key": str(key), **what}}:
            data = stage.case.data(str(what["file"])) if "file" in what else str(what["text"]).encode()
            stage.puts.append(Put(key, data, stage.now(), time.time()))
            await stage.product.put(key, data)
        case {"start_workers": count}:
            stage.marks.setdefault("first_start", stage.now())
            stage.marks["last_start"] = stage.now()
            stage.workers += [_worker(stage, len(stage.workers) + n) for n in range(count)]
        case {"wait": "terminal"}:
            await _wait_terminal(stage)
        case {"wait": {"calls_done": count}}:
            await _wait_calls(stage, count)
        case {"cancel": key}:
            await _cancel(stage, key)
        case {"kill_worker": index, **how}:
            number = signal.Signals[f"SIG{how.get('signal', 'KILL')}"]
            stage.killed.add(index)
            stage.workers[index].measure()
            stage.workers[index].signal(number, group=number is signal.SIGKILL)
        case {"redis": "stop"}:
            await stage.redis.stop()
        case {"redis": "start"}:
            await stage.redis.start()
        case {"sleep_s": seconds}:
            await asyncio.sleep(seconds)
        case {"cli": "status", "key": key}:
            await _sample(stage, key)
        case {"cli_poll": "status", "key": key, **how}:
            stage.polls.append(asyncio.create_task(_poll(stage, key, how["every_s"])))
        case _:
            raise StepError(f"the step {step} is not known")


def _worker(stage: Stage, place: int) -> Child:
    return Child(stage.product.work(), folder=stage.folder, name=f"worker-{place}", env=stage.product.env)


def _someone_works(stage: Stage) -> None:
    """Raises StepError when every worker is gone and nobody sent it away: waiting would be in vain."""
    if stage.workers and all(worker.ended_itself for worker in stage.workers):
        raise StepError("every worker has ended")


async def _measure(stage: Stage) -> None:
    while True:
        for worker in stage.workers:
            if worker.exit is None:
                worker.measure()
        await asyncio.sleep(_MEASURE_S)


async def _command(stage: Stage, command: list[str], name: str) -> tuple[int, str, str]:
    """Run one of the product's commands to its end: exit code, standard output, standard error."""
    stage.commands += 1
    child = Child(command, folder=stage.folder, name=f"{stage.commands:04d}-{name}", env=stage.product.env)
    try:
        code = await child.wait(_COMMAND_S)
    except TimeoutError:
        raise StepError(f"the command {name} did not end within {_COMMAND_S:.0f} s") from None
    finally:
        child.close()
    out, err = child.said()
    child.out.unlink()
    child.err.unlink()
    return code, out, err


async def _ask(stage: Stage) -> None:
    """Ask the status command for all batches, and look whether those that it calls completed have their files."""
    _, out, _ = await _command(stage, stage.product.status(), "status")
    known = stage.product.read_status(out)
    if known is not None:
        stage.batches = sorted([*known, *await stage.product.rejected()], key=lambda batch: batch.created_s)
        finals = frozenset((batch.id, batch.created_s) for batch in stage.batches if batch.final)
        if finals != stage.finals:
            stage.final_t = stage.over_t if stage.over_t > stage.final_t else stage.now()
            stage.finals = finals
        await _check_files(stage)


async def _check_files(stage: Stage) -> None:
    for batch in stage.batches:
        if not batch.state.startswith("completed"):
            continue
        since = stage.premature.get(batch.id)
        if await stage.product.has_results(batch.id):
            if since is not None:
                stage.premature_s = max(stage.premature_s, stage.now() - since)
                del stage.premature[batch.id]
        elif since is None:
            stage.premature[batch.id] = stage.now()


def _unfinished(stage: Stage) -> bool:
    """Whether any upload still waits for a batch of its own, or a batch for its end."""
    if stage.premature:
        return True
    for put in stage.puts:
        if stage.product.ignores(put.key):
            continue
        own = [batch for batch in stage.batches if batch.key == put.key]
        if not own or not all(batch.final for batch in own):
            return True
        newer = any(batch.created_s >= put.wall - 1.0 for batch in own)
        if not newer and stage.now() - put.t < _NO_NEW_BATCH_S:
            return True  # put again under a known key, and its batch, if it is to have one, is not there yet
    return False


async def _wait_calls(stage: Stage, count: int) -> None:
    looked = stage.now()
    while (done := sum(call.status == 200 for call in stage.calls)) < count:
        _someone_works(stage)
        if stage.now() - looked > _ASK_S:
            looked = stage.now()
            batches = len({put.key for put in stage.puts if not stage.product.ignores(put.key)})
            if len(await stage.product.over()) >= batches:
                raise StepError(f"everything is over after {done} answers; {count} were waited for")
        await asyncio.sleep(0.01)


async def _wait_terminal(stage: Stage) -> None:
    asked = float("-inf")
    while True:
        look, found = stage.now(), await stage.product.over()
        came = found != stage.over
        if came:
            stage.over, stage.over_t = found, look
        if came or stage.premature or stage.now() - asked > (_ASK_SOON_S if stage.over else _ASK_S):
            asked = stage.now()
            await _ask(stage)
            if not _unfinished(stage):
                stage.marks["terminal"] = max(0.0, stage.final_t)
                break
            _someone_works(stage)
        await asyncio.sleep(_LOOK_S)
    stage.terminal.set()
    for poll in stage.polls:  # a sample under way is still counted, and none comes after
        await poll
    stage.polls.clear()
    stage.terminal.clear()


async def _cancel(stage: Stage, key: str) -> None:
    batch_id = await stage.product.known_batch(key)
    if batch_id is None:
        await _ask(stage)
        batch = stage.latest(key)
        if batch is None:
            raise StepError(f"there is no batch of {key} to cancel")
        batch_id = batch.id
    stage.marks["cancel"] = stage.now()
    code, _, err = await _command(stage, stage.product.cancel(batch_id), "cancel")
    if code not in (0, 1, 3):
        raise StepError(f"cancel ended with {code}: {err.strip()[-300:]}")


async def _poll(stage: Stage, key: str, every_s: float) -> None:
    while not stage.terminal.is_set():
        began = stage.now()
        await _sample(stage, key)
        with suppress(TimeoutError):
            await asyncio.wait_for(stage.terminal.wait(), max(0.0, began + every_s - stage.now()))


async def _sample(stage: Stage, key: str) -> None:
    """One status sample. A good answer in which the batch does not stand yet is none."""
    batch = stage.latest(key)
    t = stage.now()
    code, out, _ = await _command(stage, stage.product.status(batch.id if batch and batch.id else None), "status")
    shown = stage.product.read_status(out)
    if shown is None:
        stage.samples.append({"t": t, "exit": code})
        return
    for each in reversed(shown):
        if each.key == key:
            if batch is None:
                stage.batches = shown
            stage.samples.append({"t": t, "exit": code, **each.figures, "percent": each.percent})
            return
