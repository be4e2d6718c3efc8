"""A shard, worked off: its byte range read, each line dispatched, its outcomes recorded and sealed.

Comes in: a ticket from the queue. Goes out: nothing but what lies in the store and the ledger, and one word for the
queue: the shard ended, or it is handed back (the worker stops, the claim was lost, the store is away). A line that has
its outcome is left out, so a shard may be taken up any number of times. Called by ``service``; the life of a single
line is ``dispatch``'s.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from redis.exceptions import RedisError

from bucketline.batch import BatchDocument
from bucketline.errors import BucketlineError
from bucketline.failure import TABLE, Failure, Kind
from bucketline.jsonl import Record, records_of
from bucketline.keys import shard_job_id
from bucketline.layout import batch_document, input_object
from bucketline.ledger import Ledger, LedgerGone
from bucketline.outcome import Outcome
from bucketline.queue import Ticket
from bucketline.request import Fault, Request, read_request
from bucketline.settings import WorkerSettings
from bucketline.sign import Reason
from bucketline.store import Store, StoreError
from worker.budget import open_budget
from worker.control import Control, OpenBatch
from worker.dedupe import Dedupe
from worker.dispatch import Dispatcher
from worker.life import Life
from worker.logs import logger
from worker.record import SEAL_BYTES, SEAL_S, ClaimLost, OpenShard, Recorder
from worker.traces import Traces

__all__ = ["ShardEnd", "ShardRunner"]

_log = logger(__name__)
_DOCUMENTS_KEPT = 64  #: batch documents kept in memory
_DRAIN_S = 0.05
_PARKED = 4  #: lines in memory at the most, as a multiple of those that work
_LOOK_S = 1.0  #: how often an open shard looks whether it should seal or yield


class ShardEnd(Enum):
    """What the queue is to do with the ticket."""

    ENDED = auto()
    HAND_BACK = auto()
    LAST = auto()  #: it was the batch's last shard: the batch can be finished


@dataclass(slots=True)
class ShardRunner:
    """What all shards of one process share."""

    store: Store
    ledger: Ledger
    control: Control
    recorder: Recorder
    dispatcher: Dispatcher
    dedupe: Dedupe
    settings: WorkerSettings
    line_cap_bytes: int
    landing_s: float  #: how long a call can be in flight at the most
    monotonic: Callable[[], float]
    stopping: asyncio.Event  #: set when the process takes no new lines
    traces: Traces | None = None
    open: set[OpenShard] = field(default_factory=set)
    _documents: dict[str, BatchDocument] = field(default_factory=dict)

    @property
    def open_lines(self) -> int:
        """Lines of this process that have no recorded outcome yet."""
        return sum(shard.pending for shard in self.open)

    @property
    def room_lines(self) -> int:
        """How many more lines this process should open.

        Lines that wait for a closed route or for their equal do no work, so others may come in beside them, up to a
        bound on memory.
        """
        most = self.settings.open_requests or 3 * self.settings.concurrency
        idle = min(self.dispatcher.health.parked + self.dedupe.parked, (_PARKED - 1) * most)
        return most + idle - self.open_lines

    def open_jobs(self) -> set[str]:
        """The queue's names of the shards that this process has open."""
        return {shard_job_id(shard.batch_id, shard.shard) for shard in self.open}

    async def drained(self) -> None:
        """Wait until every open shard has ended or was handed back; ``stopping`` is set by then."""
        while self.open:
            await asyncio.sleep(_DRAIN_S)

    def open_by_batch(self) -> Counter[str]:
        """How many shards of each batch this process has open."""
        return Counter(shard.batch_id for shard in self.open)

    async def run(self, ticket: Ticket) -> ShardEnd:
        """Work one shard off. Raises nothing but CancelledError."""
        batch_id, number, *_ = ticket
        log = _log.bind(batch=batch_id, shard=number)
        try:
            return await self._run(ticket)
        except LedgerGone:
            log.warning("ledger_gone")
        except ClaimLost:
            log.warning("claim_lost")
            return ShardEnd.ENDED
        except (StoreError, BucketlineError) as error:
            log.warning("handed_back", reason=str(error))
        except (RedisError, OSError) as error:
            log.warning("handed_back", reason=type(error).__name__)
        return ShardEnd.HAND_BACK

    async def _run(self, ticket: Ticket) -> ShardEnd:
        batch_id, number, first_line, offset, size, _ = ticket
        document = await self._document(batch_id)
        raw = await self.store.get(input_object(batch_id), offset=offset, length=size)
        records = list(records_of(raw, line=first_line, offset_bytes=offset, cap_bytes=self.line_cap_bytes))
        last_line = records[-1].line if records else first_line
        claim = await self.ledger.claim(batch_id, number, first_line, last_line)
        if claim is None:
            return ShardEnd.ENDED
        todo = [record for record in records if record.line not in claim.recorded]
        shard = OpenShard(batch_id, number, claim.generation, len(todo))
        self.recorder.adopt(shard, claim.unsealed)
        await open_budget(self.dispatcher.gate, self.ledger, document)
        batch = await self.control.open(document)
        self.open.add(shard)
        try:
            finished = await self._lines(todo, shard, batch)
            await self.recorder.seal(shard)
            if not finished or shard.over:
                return ShardEnd.ENDED if shard.over else ShardEnd.HAND_BACK
            left = await self.ledger.end_shard(batch_id, number, shard.generation)
            return ShardEnd.LAST if left == 0 else ShardEnd.ENDED
        finally:
            self.open.discard(shard)
            self.recorder.forget(shard)
            self.control.close_shard(batch)
            if batch.shards == 0:
                self.dispatcher.gate.forget_budget(batch_id)

    async def _lines(self, todo: list[Record], shard: OpenShard, batch: OpenBatch) -> bool:
        """Start every line, seal as they grow; True when all of them are recorded."""
        tasks: set[asyncio.Task[None]] = set()
        for record in todo:
            request = self._understand(record, batch.document)
            if isinstance(request, Fault):
                self.recorder.put(shard, _invalid(request))
                continue
            task = asyncio.create_task(self._line(request, shard, batch))
            tasks.add(task)
            batch.waiting.add(task)
        try:
            return await self._until_recorded(shard, tasks, batch)
        finally:
            for task in tasks:
                task.cancel()
            batch.waiting -= tasks
            batch.in_flight -= tasks

    async def _until_recorded(self, shard: OpenShard, tasks: set[asyncio.Task[None]], batch: OpenBatch) -> bool:
        """Wait for the shard's last outcome; seal what grows or ages; yield when told to stop or after its time."""
        shard.settle(0)
        began = self.monotonic()
        while not await _within(shard.done, _LOOK_S):
            if shard.lost.is_set():
                await self._yield(tasks, batch, self.landing_s)
                raise ClaimLost
            if self.stopping.is_set() or self.monotonic() - began > self.settings.job_timeout_s:
                grace_s = self.settings.grace_s if self.stopping.is_set() else self.landing_s
                await self._yield(tasks, batch, grace_s)
                return shard.done.is_set()
            aged = bool(shard.unsealed) and self.monotonic() - shard.since_s > SEAL_S
            if aged or shard.unsealed_bytes > SEAL_BYTES:
                await self.recorder.seal(shard)
        return True

    async def _yield(self, tasks: set[asyncio.Task[None]], batch: OpenBatch, grace_s: float) -> None:
        """Let go of lines that wait, let those in flight land for the grace time, and record them."""
        for task in tasks & batch.waiting:
            task.cancel()
        landing = {task for task in tasks if not task.done()}
        if landing:
            await asyncio.wait(landing, timeout=grace_s)
        for task in landing:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.recorder.flushed()

    async def _line(self, request: Request, shard: OpenShard, batch: OpenBatch) -> None:
        """One line from here to its outcome; cancelled without the batch's end it leaves no trace."""
        life = Life(request)
        traced = self.traces if self.traces and self.traces.sampled(shard.batch_id, request.line) else None
        began_s = traced.now_s() if traced else 0.0
        try:
            if self.recorder.is_full:
                with self.dispatcher.sight.wait(shard.batch_id, Reason.MEMORY):
                    await self.recorder.room()
            outcome = _ended(life, batch.ended_by) if batch.ended_by else await self._outcome(life, batch)
        except asyncio.CancelledError:
            if batch.ended_by is None:
                raise
            outcome = _ended(life, batch.ended_by)
        except Exception as error:  # a fault of ours must not sink the shard: the line says so and the rest goes on
            _log.error(
                "line_broke", batch=shard.batch_id, line=request.line, error=type(error).__name__, at=_place(error)
            )
            outcome = _ended(life, Kind.INTERNAL)
        finally:
            batch.gone()
        self.dispatcher.sight.end(shard.batch_id)
        if traced:
            traced.line(shard.batch_id, request.form, outcome, began_s)
        self.recorder.put(shard, outcome)

    async def _outcome(self, life: Life, batch: OpenBatch) -> Outcome:
        if batch.document.options.dedupe:
            return await self.dedupe.outcome(life.request, batch.document, lambda: self.dispatcher.run(life, batch))
        return await self.dispatcher.run(life, batch)

    def _understand(self, record: Record, document: BatchDocument) -> Request | Fault:
        if record.oversized:
            return Fault(record.line, None, "The line is longer than the cap.")
        options = document.options
        request = read_request(record.raw, record.line, options.model)
        if isinstance(request, Request) and options.force_model and options.model:
            return replace(request, model=options.model)
        return request

    async def _document(self, batch_id: str) -> BatchDocument:
        document = self._documents.get(batch_id)
        if document is None:
            raw = await self.store.get(batch_document(batch_id))
            document = self._documents[batch_id] = BatchDocument.model_validate_json(raw)
            while len(self._documents) > _DOCUMENTS_KEPT:
                self._documents.pop(next(iter(self._documents)))
        return document


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _place(error: BaseException) -> str:
    """Where an error arose, without the values that a traceback would show."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _invalid(fault: Fault) -> Outcome:
    return Outcome(
        line=fault.line,
        custom_id=fault.custom_id,
        requested_model="",
        code=TABLE[Kind.INVALID_INPUT].code,
        message=fault.message,
        attempts=(),
    )


def _ended(life: Life, kind: Kind) -> Outcome:
    return life.failed(Failure(kind, TABLE[kind].sentence))
