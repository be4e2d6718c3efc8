"""What an operator or the clock wants of the batches that this process has open.

Comes in: twice a second, the flags of all open batches and Redis' time in one round trip. Goes out: a batch is paused,
resumed, or ended for ``cancelled`` or ``expired``, and its lines learn of it at once; and which batches Redis has
forgotten. Deadlines are judged by Redis' clock, the same for the whole fleet. Opened and closed by ``shard``; read by
``dispatch``. It changes nothing in Redis.
"""

from __future__ import annotations

import asyncio
import time
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
    looked: bool = False  #: its flags are known
    ended_by: Kind | None = None
    running: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[asyncio.Task[Any]] = field(default_factory=set)  #: lines that are not in flight
    in_flight: set[asyncio.Task[Any]] = field(default_factory=set)
    leaving: set[asyncio.Task[Any]] = field(default_factory=set)  #: of those in flight: they may land, and no more

    @property
    def id(self) -> str:
        return self.document.id

    def check(self) -> None:
        """Raises CancelledError where the line that is running now has landed and would be asked again, but leaves."""
        if self.leaving and asyncio.current_task() in self.leaving:
            raise asyncio.CancelledError

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
        """End every line that is open; those in flight too, unless they may land. A line that landed and would go on
        ends with the next call.
        """
        if self.ended_by is None:
            self.ended_by = kind
        for task in [*self.waiting, *(() if keep_in_flight else self.in_flight)]:
            task.cancel()


class Control:
    """The open batches of one process."""

    def __init__(
        self, ledger: Ledger, clock: Callable[[], float], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._monotonic = monotonic
        self._offset_s = 0.0  #: from this machine's clock to Redis'
        self.batches: dict[str, OpenBatch] = {}
        self.forgotten: dict[str, float] = {}  #: open batches that Redis lacks → monotonic time of the first look
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="control")

    async def close(self) -> None:
        await end_tasks(self._task)

    def now_s(self) -> float:
        """Unix time by Redis' clock, as far as it is known."""
        return self._clock() + self._offset_s

    async def open(self, document: BatchDocument) -> OpenBatch:
        """Count one more open shard of a batch. Raises RedisError.

        The flags of a batch that was not open are fresh when this returns; those of the others are looked at all the time.
        """
        batch = self.batches.get(document.id)
        if batch is None:
            batch = self.batches[document.id] = OpenBatch(document)
            batch.running.set()
        batch.shards += 1
        if batch.shards > 1 and batch.looked:
            return batch
        try:
            await self._look([document.id])
        except BaseException:
            self.close_shard(batch)
            raise
        return batch

    def close_shard(self, batch: OpenBatch) -> None:
        batch.shards -= 1
        if batch.shards == 0:
            self.batches.pop(batch.id, None)
            self.forgotten.pop(batch.id, None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if not self.batches:
                continue
            try:
                await self._look(list(self.batches))
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__)
            except Exception as error:  # a cancelled batch must not go on because one look failed
                _log.error("control_broke", error=type(error).__name__)

    async def _look(self, batch_ids: list[str]) -> None:
        asked_s = self._clock()
        flags, redis_s = await self._ledger.flags(batch_ids)
        self._offset_s = redis_s - (asked_s + self._clock()) / 2
        for batch_id in batch_ids:
            batch = self.batches.get(batch_id)
            found = flags.get(batch_id)
            if batch is None:
                continue
            if found is None:
                self.forgotten.setdefault(batch_id, self._monotonic())
            else:
                self.forgotten.pop(batch_id, None)
                batch.looked = True
                self._apply(batch, found)

    def _apply(self, batch: OpenBatch, found: Flags) -> None:
        if found.state in (State.CANCELLING, State.CANCELLED):
            batch.end(Kind.CANCELLED, keep_in_flight=found.keep_in_flight)
        elif batch.ended_by is Kind.EXPIRED or (found.deadline_s is not None and self.now_s() >= found.deadline_s):
            batch.end(Kind.EXPIRED)
        if found.paused:
            batch.running.clear()
        else:
            batch.running.set()
