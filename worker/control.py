"""What an operator or the clock wants of the batches that this process has open.

Comes in: twice a second, the flags of all open batches in one round trip. Goes out: a batch is paused, resumed, or
ended for ``cancelled`` or ``expired``, and its lines learn of it at once. Opened and closed by ``shard``; read by
``dispatch``. It changes nothing in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from bucketline.batch import BatchDocument, State
from bucketline.failure import Kind
from bucketline.ledger import Flags, Ledger
from worker.logs import logger
from worker.tasks import end_tasks

__all__ = ["Control", "OpenBatch"]

_log = logger(__name__)

POLL_S = 0.4  #: a cancel reaches calls in flight within a second


@dataclass(slots=True)
class OpenBatch:
    """One batch of which this process has shards open. Changed only by ``Control`` and by its own lines."""

    document: BatchDocument
    shards: int = 0
    ended_by: Kind | None = None
    running: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[asyncio.Task[Any]] = field(default_factory=set)  #: lines that are not in flight
    in_flight: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def id(self) -> str:
        return self.document.id

    def took_off(self) -> None:
        """The line that is running now has its permits: it is in flight."""
        task = asyncio.current_task()
        if task is not None:
            self.waiting.discard(task)
            self.in_flight.add(task)

    def landed(self) -> None:
        """The line that is running now has its reply, or none: it is no longer in flight."""
        task = asyncio.current_task()
        if task is not None:
            self.in_flight.discard(task)
            self.waiting.add(task)

    def gone(self) -> None:
        """The line that is running now has ended."""
        task = asyncio.current_task()
        if task is not None:
            self.waiting.discard(task)
            self.in_flight.discard(task)

    def end(self, kind: Kind, *, keep_in_flight: bool = False) -> None:
        """End every line that is open; those in flight too, unless they may land."""
        if self.ended_by is None:
            self.ended_by = kind
            for task in [*self.waiting, *(() if keep_in_flight else self.in_flight)]:
                task.cancel()


class Control:
    """The open batches of one process."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self.batches: dict[str, OpenBatch] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="control")

    async def close(self) -> None:
        await end_tasks(self._task)

    async def open(self, document: BatchDocument) -> OpenBatch:
        """Count one more open shard of a batch; its flags are fresh when this returns."""
        batch = self.batches.get(document.id)
        if batch is None:
            batch = self.batches[document.id] = OpenBatch(document)
            batch.running.set()
        batch.shards += 1
        self._apply(await self._ledger.flags([document.id]))
        return batch

    def close_shard(self, batch: OpenBatch) -> None:
        batch.shards -= 1
        if batch.shards == 0:
            self.batches.pop(batch.id, None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if not self.batches:
                continue
            try:
                self._apply(await self._ledger.flags(list(self.batches)))
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__)

    def _apply(self, flags: dict[str, Flags]) -> None:
        for batch_id, found in flags.items():
            batch = self.batches.get(batch_id)
            if batch is None:
                continue
            if found.state in (State.CANCELLING, State.CANCELLED):
                batch.end(Kind.CANCELLED, keep_in_flight=found.keep_in_flight)
            elif found.deadline_s is not None and self._clock() >= found.deadline_s:
                batch.end(Kind.EXPIRED)
            if found.paused:
                batch.running.clear()
            else:
                batch.running.set()
