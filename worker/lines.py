"""The open lines of one shard: a coroutine each, from the record to the outcome.

Comes in: records of the shard's range. Goes out: outcomes, into the recorder. A line that is cut off without its batch's end
leaves no trace and is asked again by whoever has the shard then; nothing that happens to one line reaches another. Called by
``shard`` and ``ward``; the way of a line through routes and calls is ``dispatch``'s.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from bucketline.batch import BatchDocument
from bucketline.failure import TABLE, Failure, Kind
from bucketline.jsonl import Record
from bucketline.ledger import Ledger
from bucketline.outcome import Outcome
from bucketline.request import Fault, Request, read_request
from bucketline.sign import Reason
from worker.control import OpenBatch
from worker.dedupe import Dedupe
from worker.dispatch import Dispatcher
from worker.life import Life
from worker.logs import logger
from worker.openshard import OpenShard
from worker.record import Recorder
from worker.traces import Traces

__all__ = ["Lines", "place_of"]

_log = logger(__name__)

_ASK_S = 2.0


@dataclass(slots=True)
class Lines:
    """The lines of one shard in this process."""

    shard: OpenShard
    batch: OpenBatch
    ledger: Ledger
    recorder: Recorder
    dispatcher: Dispatcher
    dedupe: Dedupe
    traces: Traces | None
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    later: set[int] = field(default_factory=set)  #: lines that are to be begun in their turn
    _dropped: set[int] = field(default_factory=set)

    def start(self, records: Iterable[Record]) -> list[asyncio.Task[None]]:
        """Begin lines; one that cannot be understood ends at once, one that was dropped is left out."""
        begun = []
        self.shard.let_go = self.let_go
        self.drop(self.shard.elsewhere)
        for record in records:
            self.later.discard(record.line)
            if record.line in self._dropped:
                continue
            request = self._understand(record)
            if isinstance(request, Fault):
                self.recorder.put(self.shard, _invalid(request))
                continue
            task = asyncio.create_task(self._line(request))
            self.tasks[request.line] = task
            self.batch.waiting.add(task)
            begun.append(task)
        return begun

    def condemn(self, records: Iterable[Record], message: str) -> None:
        """End lines without trying them."""
        for record in records:
            request = self._understand(record)
            if isinstance(request, Fault):
                self.recorder.put(self.shard, _invalid(request))
            else:
                self.recorder.put(self.shard, Life(request).failed(Failure(Kind.INTERNAL, message)))

    def drop(self, recorded: set[int]) -> None:
        """Let go of lines that wait, or are to come, and have their outcome by another worker; they are ``pending`` no more."""
        while recorded:
            line = recorded.pop()
            if line in self._dropped:
                continue
            task = self.tasks.get(line)
            if task is not None and task in self.batch.waiting and not task.done():
                task.cancel()
            elif line in self.later:
                self.later.discard(line)
            else:
                continue
            self._dropped.add(line)
            self.shard.settle(1)

    def let_go(self) -> None:
        """End the lines that wait; they are asked again by whoever has the shard."""
        for task in self.batch.waiting & set(self.tasks.values()):
            task.cancel()

    async def let_land(self, grace_s: float) -> None:
        """Let go of lines that wait, let those in flight land for the grace time. Their outcomes are put afterwards."""
        tasks = set(self.tasks.values())
        self.let_go()
        landing = {task for task in tasks if not task.done()}
        self.batch.leaving |= landing
        if landing and grace_s > 0:
            await asyncio.wait(landing, timeout=grace_s)
        for task in landing:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        self.shard.let_go = None
        tasks = set(self.tasks.values())
        for task in tasks:
            task.cancel()
        self.batch.waiting -= tasks
        self.batch.in_flight -= tasks
        self.batch.leaving -= tasks

    async def _line(self, request: Request) -> None:
        """One line from here to its outcome; cancelled without the batch's end it leaves no trace."""
        shard, batch, sight = self.shard, self.batch, self.dispatcher.sight
        life = Life(request)
        if shard.inherited:
            life.overtaken = partial(self._overtaken, request.line)
        traced = self.traces if self.traces and self.traces.sampled(shard.batch_id, request.line) else None
        began_s = traced.now_s() if traced else 0.0
        try:
            if self.recorder.is_full:
                with sight.wait(shard.batch_id, Reason.MEMORY):
                    await self.recorder.room()
            outcome = _ended(life, batch.ended_by) if batch.ended_by else await self._outcome(life)
        except asyncio.CancelledError:
            if batch.ended_by is None or request.line in self._dropped:
                raise
            outcome = _ended(life, batch.ended_by)
        except Exception as error:  # a fault of ours must not sink the shard: the line says so and the rest goes on
            _log.error(
                "line_broke", batch=shard.batch_id, line=request.line, error=type(error).__name__, at=place_of(error)
            )
            outcome = _ended(life, Kind.INTERNAL)
        finally:
            batch.gone()
        sight.end(shard.batch_id)
        if traced:
            traced.line(shard.batch_id, request.form, outcome, began_s)
        self.recorder.put(shard, outcome)

    async def _overtaken(self, line: int) -> bool:
        """Whether another worker has recorded the line, late: then it is dropped. Where Redis is away, nobody can have."""
        try:
            async with asyncio.timeout(_ASK_S):
                recorded = await self.ledger.is_recorded(self.shard.batch_id, line)
        except (RedisError, OSError):
            return False
        if recorded and line not in self._dropped:
            self._dropped.add(line)
            self.shard.settle(1)
        return recorded

    def _outcome(self, life: Life) -> Coroutine[Any, Any, Outcome]:
        batch = self.batch
        if batch.document.options.dedupe:
            return self.dedupe.outcome(life.request, batch.document, lambda: self.dispatcher.run(life, batch))
        return self.dispatcher.run(life, batch)

    def _understand(self, record: Record) -> Request | Fault:
        if record.oversized:
            return Fault(record.line, None, "The line is longer than the cap.")
        document: BatchDocument = self.batch.document
        try:
            request = read_request(record.raw, record.line, document.options.model)
        except Exception as error:
            _log.error("line_not_read", batch=document.id, line=record.line, error=type(error).__name__)
            return Fault(record.line, None, "The line cannot be read.")
        if isinstance(request, Request) and document.options.force_model and document.options.model:
            return replace(request, model=document.options.model)
        return request


def place_of(error: BaseException) -> str:
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
