"""The whole job on this machine: an embedded Redis, a folder as the store, one worker inside this process.

Comes in: an input file and a folder for the results. Goes out: the batch's id and final state, the results in the
folder. The line is the same as everywhere, smaller. Called by ``run`` and ``demo``. An interruption leaves the work folder
as it is, so that ``resume`` goes on from what was recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.batch import TERMINAL, BatchOptions, Progress
from bucketline.circuit import read_all_circuits
from bucketline.documents import read_document
from bucketline.errors import UsageError
from bucketline.failure import TABLE, Kind
from bucketline.layout import batch_document
from bucketline.queue import release
from bucketline.settings import Settings
from bucketline.store import open_store
from producer.download import copy_results
from producer.intake import submit
from producer.watch import progress_of
from worker.embedded import EmbeddedRedis
from worker.engine import Engine
from worker.recover import recover
from worker.service import open_engine, serve
from worker.tasks import end_tasks

__all__ = ["WORK_FOLDER", "LocalRun", "resumed", "run_local"]

WORK_FOLDER = ".bucketline"  #: inside the results' folder: the embedded Redis and the store
_LOOK_S = 0.2
_TELL_S = 1.0
_FULL_BYTES = 1 << 16  #: with less, Redis and the store take nothing more


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What ``run`` was asked to do."""

    source: str
    folder: Path
    options: BatchOptions
    resume: bool = False
    strict: bool = False
    number_duplicates: bool = False
    to: str | None = None  #: the ``s3://`` address for the results; ``folder`` is then where the work is done

    @property
    def place(self) -> str:
        """Where the results go, for people."""
        return self.to or str(self.folder)


async def run_local(
    run: LocalRun,
    settings: Settings,
    show: Callable[[Progress], None],
    stop: asyncio.Event,
    tell: Callable[[str], None] = lambda _: None,
) -> Progress:
    """Run a batch to its end, or until ``stop`` is set. Raises the same errors as submit.

    ``show`` is called a few times a second with the progress, ``tell`` with what lines wait for a person to mend. The results are in the folder when the state is final.
    """
    _make(run.folder)
    work = run.folder / WORK_FOLDER
    batch_id = resumed(work) if run.resume else None
    if batch_id is None and work.exists():
        _refuse_to_overwrite(run.folder, work)
    _make(work)
    if run.to is not None:
        await _check(run.to)  # before any line is paid for
    async with _engine(work, settings) as engine:
        if batch_id is not None:
            await _let_go(batch_id, engine)
        served = asyncio.create_task(serve(engine, stop))
        try:
            if batch_id is None:
                document = await submit(
                    run.source,
                    engine.store,
                    engine.redis,
                    engine.settings,
                    run.options,
                    strict=run.strict,
                    number_duplicates=run.number_duplicates,
                )
                batch_id = document.id
            else:
                await recover(batch_id, engine.store, engine.ledger, engine.redis)
            telling = asyncio.create_task(_tell_what_waits_for_people(engine, run.folder, tell))
            try:
                progress = await _watch(batch_id, engine, show, stop, served)
            finally:
                await end_tasks(telling)
        finally:
            stop.set()
            await served
    if progress.state in TERMINAL:
        if run.to is not None:
            await _copy(work, batch_id, run.to)
        _hand_over(work, run.folder, batch_id)
    return progress


def _make(folder: Path) -> None:
    """Raises UsageError where a folder cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UsageError(f"The folder {folder} cannot be made: {reason}; give another to -o.") from None


@contextlib.asynccontextmanager
async def _engine(work: Path, settings: Settings) -> AsyncIterator[Engine]:
    async with EmbeddedRedis(work / "redis") as redis:
        local = settings.model_copy(update={"redis_url": redis.url, "store": str(work / "store")})
        async with open_engine(local) as engine:
            yield engine


async def _watch(
    batch_id: str, engine: Engine, show: Callable[[Progress], None], stop: asyncio.Event, served: asyncio.Task[None]
) -> Progress:
    while True:
        progress = await progress_of(batch_id, engine.ledger, engine.store)
        show(progress)
        if progress.state in TERMINAL or stop.is_set():
            return progress
        if served.done():
            served.result()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await stop.wait()


async def _tell_what_waits_for_people(engine: Engine, folder: Path, tell: Callable[[str], None]) -> None:
    """Say once of a full disk, and of each account or route that only a person can open again, that lines wait."""
    told: set[str] = set()
    full = False
    while True:
        await asyncio.sleep(_TELL_S)
        with contextlib.suppress(RedisError, OSError):
            if not full and shutil.disk_usage(folder).free < _FULL_BYTES:
                full = True
                tell(
                    f"The disk under {folder} is full. Lines wait; free some and they go on, or Ctrl-C, then --resume."
                )
            for circuit in await read_all_circuits(engine.redis):
                if circuit.until_s is None and circuit.name not in told:
                    told.add(circuit.name)
                    sentence = TABLE[Kind(circuit.kind)].sentence if circuit.kind in set(Kind) else circuit.kind
                    tell(
                        f"{circuit.name}: {sentence} Its lines wait. Ctrl-C, mend it, then --resume; or --on-quota fail."
                    )


def resumed(work: Path) -> str | None:
    """The batch that an interrupted run left here; None when it had not come as far as its document."""
    documents = list((work / "store").glob(batch_document("*")))
    return documents[0].parent.name if documents else None


async def _let_go(batch_id: str, engine: Engine) -> None:
    """Drop the leases of the run that died: the folder is locked, so nobody else works on its shards."""
    document = await read_document(engine.store, batch_id)
    await release(engine.redis, batch_id, len(document.shards))
    await engine.redis.unlink(keys.WORKERS)  # nor is it waited for, as a worker that may still live would be


def _refuse_to_overwrite(folder: Path, work: Path) -> None:
    if resumed(work) is None:
        shutil.rmtree(work)
        return
    raise UsageError(f"{folder} holds an unfinished run; go on with --resume, or give another folder.")


async def _check(address: str) -> None:
    """Raises UsageError and StoreUnavailable where the results could not be put at the end."""
    to = open_store(address)
    try:
        await to.check()
    finally:
        await to.close()


async def _copy(work: Path, batch_id: str, address: str) -> None:
    """Put the results where they were asked for; where that fails they stay, and ``--resume`` puts them again."""
    store, to = open_store(str(work / "store")), open_store(address)
    try:
        await copy_results(batch_id, store, to)
    finally:
        await store.close()
        await to.close()


def _hand_over(work: Path, folder: Path, batch_id: str) -> None:
    """Move the results out of the work folder, the manifest last, then drop the work folder."""
    results = work / "store" / "batches" / batch_id
    for name in ("output.jsonl", "errors.jsonl", "manifest.md", "manifest.json"):
        if (results / name).exists():
            (results / name).replace(folder / name)
    shutil.rmtree(work, ignore_errors=True)
