"""A shard, worked off: its byte range read, each line dispatched, its outcomes recorded and sealed.

Comes in: a ticket from the queue. Goes out: nothing but what lies in the store and the ledger, and one word for the
queue: the shard ended, it is handed back (the worker stops, the store is away), or it is another's by now. A line that has
its outcome is left out, so a shard may be taken up any number of times. While the store or Redis is away the shard keeps its
answers and tries again; only then does it end. Called by ``service``; its lines are ``lines``', its parts ``seal``'s.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from redis.exceptions import RedisError

from bucketline.batch import BatchDocument
from bucketline.documents import Documents
from bucketline.errors import BucketlineError
from bucketline.jsonl import Record, records_of
from bucketline.keys import shard_job_id
from bucketline.layout import input_object
from bucketline.ledger import Claim, ClaimLost, Extent, Ledger, LedgerGone, LinesLacking, OutOfStep
from bucketline.queue import Ticket
from bucketline.settings import WorkerSettings
from bucketline.store import Store, StoreError
from worker import take
from worker.budget import open_budget
from worker.control import Control
from worker.dedupe import Dedupe
from worker.dispatch import Dispatcher
from worker.lines import Lines, place_of
from worker.logs import logger, said
from worker.openshard import OpenShard, ShardEnd
from worker.record import Recorder
from worker.seal import Sealer
from worker.tasks import Stopped, end_tasks, pause, unless
from worker.traces import Traces
from worker.ward import POISON, STRIKES, Ward, plan

__all__ = ["ShardEnd", "ShardRunner"]

_log = logger(__name__)

_LOOK_S = 1.0  #: how often an open shard looks whether it should offer, seal or yield
_MOST_DELAY_S = 15.0
_T = TypeVar("_T")
_AWAY = (StoreError, RedisError, OSError, LedgerGone)


@dataclass(slots=True)
class ShardRunner:
    """What all shards of one process share."""

    worker_id: str
    store: Store
    documents: Documents
    ledger: Ledger
    control: Control
    recorder: Recorder
    sealer: Sealer
    dispatcher: Dispatcher
    dedupe: Dedupe
    settings: WorkerSettings
    line_cap_bytes: int
    landing_s: float  #: how long a call can be in flight at the most
    monotonic: Callable[[], float]
    stopping: asyncio.Event  #: set when the process takes no new lines
    late: asyncio.Event  #: set when it must not wait for Redis or the store any more
    traces: Traces | None = None
    open: set[OpenShard] = field(default_factory=set)
    ward: Ward = field(default_factory=Ward)

    @property
    def open_lines(self) -> int:
        """Lines of this process that have no recorded outcome yet."""
        return sum(shard.pending for shard in self.open)

    @property
    def room_lines(self) -> int:
        """How many more lines to open."""
        paused = {batch.id for batch in self.control.batches.values() if not batch.running.is_set()}
        idle = sum(shard.pending for shard in self.open if shard.batch_id in paused)
        idle += self.dispatcher.health.parked + self.dedupe.parked
        return take.room_lines(self._most_lines, self.open_lines, idle)

    @property
    def spare_lines(self) -> int:
        """And how many beyond that room, of what the dead had open."""
        return take.spare_lines(self._most_lines)

    @property
    def _most_lines(self) -> int:
        ends_a_s = self.dispatcher.turnstile.ends_a_s()
        return self.settings.open_requests or take.most_lines(self.settings.concurrency, ends_a_s)

    def open_jobs(self) -> set[str]:
        """The queue's names of the shards that this process has open."""
        return {shard_job_id(shard.batch_id, shard.shard) for shard in self.open}

    def open_by_batch(self) -> Counter[str]:
        """How many shards of each batch this process has open."""
        return Counter(shard.batch_id for shard in self.open)

    async def drained(self) -> None:
        """Wait until every open shard has ended or was handed back; ``stopping`` is set by then."""
        while self.open:
            await asyncio.sleep(0.05)

    async def run(self, ticket: Ticket) -> ShardEnd:
        """Work one shard off. Raises nothing but CancelledError."""
        shard = OpenShard(ticket.batch_id, ticket.shard, pending=ticket.lines)
        log = _log.bind(batch=shard.batch_id, shard=shard.shard)
        self.open.add(shard)  # from here on its lease is renewed
        try:
            return await self._run(ticket, shard)
        except ClaimLost:
            log.warning("claim_lost")
            end = ShardEnd.LOST
        except Stopped:
            log.info("handed_back", pending=shard.pending)
            end = ShardEnd.HAND_BACK
        except (BucketlineError, *_AWAY) as error:
            log.warning("put_off", reason=said(error))
            end = ShardEnd.PUT_OFF
        except Exception as error:  # a fault of ours: the queue would forget the shard
            log.error("shard_broke", error=type(error).__name__, at=place_of(error))
            return ShardEnd.PUT_OFF  # without release: if it breaks again, its lines are tried in isolation
        finally:
            self.open.discard(shard)
            self.sealer.forget(shard)
            await end_tasks(shard.sealer, shard.offerer)
        await self._release(shard)
        return end

    async def _run(self, ticket: Ticket, shard: OpenShard) -> ShardEnd:
        opened = await unless(self.stopping, self._open(ticket, shard))
        if opened is None:
            return ShardEnd.ENDED
        document, claim, todo = opened
        batch = await self.control.open(document)
        lines = Lines(shard, batch, self.ledger, self.recorder, self.dispatcher, self.dedupe, self.traces)
        looking = asyncio.create_task(self._look_after(lines))
        try:
            finished = await self._work(lines, todo, claim)
            left = await self._close_up(shard, finished=finished)
            if left is None:
                raise Stopped  # or its time is up
            return ShardEnd.LAST if left == 0 else ShardEnd.ENDED
        finally:
            await end_tasks(looking)
            lines.close()
            self.control.close_shard(batch)
            if batch.shards == 0:
                self.dispatcher.gate.forget_budget(shard.batch_id)

    async def _open(self, ticket: Ticket, shard: OpenShard) -> tuple[BatchDocument, Claim, list[Record]] | None:
        """Read the range and claim the shard; None when nothing is left to do."""
        batch_id, number, first_line, offset, size, _ = ticket
        (standing,) = (await self.ledger.renew(self.worker_id, self.settings.lease_s, [(batch_id, number)])).standings
        if not standing.ours:
            raise ClaimLost(batch_id)
        document = await self.documents.get(batch_id)
        raw = await self.store.get(input_object(batch_id), offset=offset, length=size)
        records = list(records_of(raw, line=first_line, offset_bytes=offset, cap_bytes=self.line_cap_bytes))
        last_line = records[-1].line if records else first_line
        claim = await self.ledger.claim(batch_id, number, first_line, last_line, self.worker_id)
        if claim is None:
            return None
        shard.generation, shard.inherited = claim.generation, claim.inherited
        shard.extent = Extent(first_line, last_line, len(records))
        self.sealer.adopt(shard, claim.unsealed)
        known = set(claim.recorded)
        if claim.doubt:
            known |= await self.sealer.known(shard, known)
        todo = [record for record in records if record.line not in known]
        shard.pending = len(todo)
        await open_budget(self.dispatcher.gate, self.ledger, document)
        return document, claim, todo

    # ── its lines ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _work(self, lines: Lines, todo: list[Record], claim: Claim) -> bool:
        """Bring every line to its outcome; True when all are recorded. Raises ClaimLost."""
        shard = lines.shard
        shard.settle(0)
        if claim.strikes >= STRIKES and todo:
            return await self._isolated(lines, todo, claim.strikes)
        shard.check()
        lines.start(todo)
        return await self._until(lines, shard.done.wait())

    async def _look_after(self, lines: Lines) -> None:
        """While the shard is here: Redis is brought in step, what grows or ages is sealed, what another recorded is let go."""
        while True:
            await asyncio.sleep(_LOOK_S)
            lines.drop(lines.shard.elsewhere)
            self.sealer.keep_safe(lines.shard)

    async def _isolated(self, lines: Lines, todo: list[Record], strikes: int) -> bool:
        """Group by group, each noted before it is begun."""
        shard = lines.shard
        ledger, batch_id, number = self.ledger, shard.batch_id, shard.shard
        weights = await self._patiently(shard, lambda: ledger.hands(batch_id, number))
        condemned, groups = plan([record.line for record in todo], weights)
        by_line = {record.line: record for record in todo}
        _log.warning("isolated", batch=batch_id, shard=number, deaths=strikes, lines=len(todo), condemned=condemned)
        lines.condemn((by_line[line] for line in condemned), POISON)
        lines.later = set(by_line) - set(condemned)
        for group in groups:
            async with self.ward.turn():
                await self._patiently(shard, partial(ledger.weigh, batch_id, number, group.lines, group.weight))
                try:
                    shard.check()
                    shard.stale = True  # its turn may have been long in coming: others may have recorded some of these
                    await self._patiently(shard, partial(self.sealer.bring_in_step, shard))
                    begun = lines.start(by_line[line] for line in group.lines)
                    finished = await self._until(lines, asyncio.gather(*begun, return_exceptions=True))
                    finished = finished and await self._until(lines, self.recorder.flushed(shard))
                finally:
                    await self._patiently(shard, partial(ledger.weigh, batch_id, number, group.lines, -group.weight))
            if not finished:
                return False
        return await self._until(lines, shard.done.wait())

    async def _until(self, lines: Lines, step: Awaitable[object]) -> bool:
        """Wait for a step of the lines; False when it is time to yield."""
        shard, began_s = lines.shard, self.monotonic()
        waiter, told = asyncio.ensure_future(step), asyncio.ensure_future(self.stopping.wait())
        try:
            while not waiter.done():
                await asyncio.wait([waiter, told], timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if shard.lost.is_set() or shard.over:
                    await self._yield(lines, self.landing_s)
                    raise ClaimLost(shard.batch_id)
                if not waiter.done() and self._is_time(began_s):
                    await self._yield(lines, self.settings.grace_s if self.stopping.is_set() else self.landing_s)
                    return shard.done.is_set()
            return True
        finally:
            waiter.cancel()
            told.cancel()

    def _is_time(self, began_s: float) -> bool:
        return self.stopping.is_set() or self.monotonic() - began_s > self.settings.job_timeout_s

    async def _yield(self, lines: Lines, grace_s: float) -> None:
        """Let go of lines that wait, let those in flight land for the grace time, and record them."""
        await lines.let_land(grace_s)
        with suppress(Stopped):
            await unless(self.late, self.recorder.flushed(lines.shard))
            return
        # Redis is away and this process must go: the store takes what was paid for, and the next claim finds it there.
        left = self.recorder.take_back(lines.shard)
        _log.error("redis_away_at_end", batch=lines.shard.batch_id, shard=lines.shard.shard, lines=len(left))
        await self.sealer.spill(lines.shard, left)

    # ── its parts and its end ─────────────────────────────────────────────────────────────────────────────────────

    async def _close_up(self, shard: OpenShard, *, finished: bool) -> int | None:
        """Seal all there is and end the shard; how many shards are left, None when it is only handed back."""

        async def step() -> int | None:
            await unless(self.late, self.sealer.seal(shard))
            if not finished:
                return None
            return await self.ledger.end_shard(shard.batch_id, shard.shard, shard.generation, shard.extent)

        with suppress(LinesLacking):  # whoever has them offers them again, or they are asked again
            return await self._patiently(shard, step)
        return None

    async def _patiently(self, shard: OpenShard, step: Callable[[], Awaitable[_T]]) -> _T:
        """Try a step for as long as it takes: the answers are kept here, and a shard that ended would forget them.

        Raises ClaimLost, and where the process stops meanwhile what was in the way: then Redis keeps the lines.
        """
        delay_s = 0.1
        while True:
            try:
                return await step()
            except OutOfStep:
                shard.stale = True
            except _AWAY as error:
                _log.warning("not_yet", batch=shard.batch_id, shard=shard.shard, reason=said(error))
                if self.stopping.is_set():
                    raise
            shard.check()
            await pause(delay_s, self.stopping)
            delay_s = min(_MOST_DELAY_S, 2 * delay_s)

    async def _release(self, shard: OpenShard) -> None:
        """Say that this claim came to no harm."""
        if shard.generation:
            with suppress(RedisError, OSError, Stopped):
                await unless(self.late, self.ledger.release(shard.batch_id, shard.shard))
