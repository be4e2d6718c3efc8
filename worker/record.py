"""From outcome to safe: group commit to the ledger, then sealed parts in the store.

Comes in: outcomes as lines end. Goes out: every few milliseconds one script call a batch that records many of them at
once, and, when a shard ends or its unsealed lines have grown or aged, one immutable part object. An answer is safe
when it is recorded; it leaves Redis when a part holds it. While Redis or the store is away the outcomes wait here, in
bounded memory: ``room`` then holds the line's reader back. Called by ``shard``; decides nothing about a line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from redis.exceptions import RedisError

from bucketline.failure import Code
from bucketline.layout import part_object
from bucketline.ledger import Deltas, Ledger, LedgerGone, ShardGroup
from bucketline.outcome import Outcome, encode_outcome
from bucketline.part import Entry, encode_part
from bucketline.splice import loads
from bucketline.store import Store, StoreError
from bucketline.tally import Tally
from worker.logs import logger

__all__ = ["ClaimLost", "OpenShard", "Recorder", "deltas_of"]

_log = logger(__name__)
T = TypeVar("T")

_COMMIT_S = 0.05  #: how long an outcome may wait for others to be recorded with it
_COMMIT_LINES = 256  #: one script call carries at most this many
SEAL_BYTES = 8 * 1024 * 1024  #: a part is written when a shard's unsealed lines have grown to this
SEAL_S = 60.0  #: or are this old


class ClaimLost(Exception):
    """Another worker has taken the shard up; what was recorded stays, the rest is its business."""


@dataclass(slots=True, eq=False)
class OpenShard:
    """One shard while this process works on it. Changed only here and by the shard's own coroutine."""

    batch_id: str
    shard: int
    generation: int
    pending: int  #: lines that have no recorded outcome yet
    unsealed: list[Entry] = field(default_factory=list)
    unsealed_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    since_s: float = 0.0  #: monotonic time of the oldest unsealed line
    sequence: int = 0
    sealing: int = 0  #: lines in a part that is being written, still in Redis
    stale: bool = False  #: Redis holds unsealed lines that others recorded: read them back before sealing
    lost: asyncio.Event = field(default_factory=asyncio.Event)  #: another worker has claimed it
    over: bool = False  #: the batch has finished without us
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, lines: int) -> None:
        self.pending -= lines
        if self.pending <= 0:
            self.done.set()


@dataclass(slots=True)
class _Waiting:
    shard: OpenShard
    entry: Entry
    deltas: Deltas
    outcome: Outcome


class Recorder:
    """The outcomes of one process on their way to Redis and the store."""

    def __init__(
        self, ledger: Ledger, store: Store, *, most_unsealed_bytes: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._most_bytes = most_unsealed_bytes
        self._monotonic = monotonic
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="recorder")

    async def close(self) -> None:
        """Record what waits, then stop; called after the last line has ended."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def flushed(self) -> None:
        """Wait until every outcome that was put has been recorded or refused."""
        while self._waiting:
            self._wake.set()
            await asyncio.sleep(_COMMIT_S / 2)

    @property
    def is_full(self) -> bool:
        """Whether no more answers should come in before Redis and the store have taken some."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait until there is memory for more answers; at once in normal weather."""
        await self._room.wait()

    def put(self, shard: OpenShard, outcome: Outcome) -> None:
        """Take one outcome. It is safe only when ``shard.pending`` has fallen."""
        entry = Entry(outcome.line, outcome.ok, encode_outcome(shard.batch_id, outcome))
        self._waiting.append(_Waiting(shard, entry, deltas_of(outcome), outcome))
        self._hold(len(entry.encoded))
        if not self._wake.is_set():
            self._wake.set()

    async def seal(self, shard: OpenShard) -> None:
        """Write the shard's unsealed lines as a part and drop them from Redis. Raises ClaimLost."""
        if shard.stale:
            await self._read_back(shard)
        if not shard.unsealed:
            return
        entries, tally, size = shard.unsealed, shard.tally, shard.unsealed_bytes
        shard.unsealed, shard.tally, shard.unsealed_bytes = [], Tally(), 0
        shard.sealing = len(entries)
        key = part_object(shard.batch_id, shard.shard, shard.generation, shard.sequence)
        shard.sequence += 1
        try:
            await self._store.put(key, encode_part(shard.shard, shard.generation, entries, tally.document()))
            left = await self._patiently(
                lambda: self._ledger.sealed(shard.batch_id, shard.shard, shard.generation, len(entries))
            )
        except StoreError:
            shard.stale = True  # Redis still holds them: the next seal reads them back
            raise
        finally:
            shard.sealing = 0
            self._let_go(size)
        if left < 0:
            raise ClaimLost

    def adopt(self, shard: OpenShard, entries: tuple[Entry, ...]) -> None:
        """Take over lines that an earlier claim recorded and nobody sealed."""
        for entry in entries:
            self._keep(shard, entry)
            shard.tally.add_line(loads(entry.encoded))
            self._hold(len(entry.encoded))

    def forget(self, shard: OpenShard) -> None:
        """Let go of a shard that another worker has, or that is handed back: Redis holds what was recorded."""
        self._let_go(shard.unsealed_bytes)
        shard.unsealed, shard.unsealed_bytes = [], 0

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if not self._closing and len(self._waiting) < _COMMIT_LINES:
                await asyncio.sleep(_COMMIT_S)
            self._wake.clear()
            while self._waiting:
                await self._commit()
            if self._closing:
                return

    async def _commit(self) -> None:
        """One script call for one batch's outcomes; nothing leaves the queue before Redis has answered."""
        batch_id = self._waiting[0].shard.batch_id
        group: dict[int, list[_Waiting]] = {}
        taken: list[_Waiting] = []
        for waiting in self._waiting:
            if waiting.shard.batch_id == batch_id and len(taken) < _COMMIT_LINES:
                group.setdefault(id(waiting.shard), []).append(waiting)
                taken.append(waiting)
        groups = [ShardGroup(ws[0].shard.shard, [w.entry for w in ws], [w.deltas for w in ws]) for ws in group.values()]
        try:
            recorded = await self._patiently(lambda: self._ledger.record(batch_id, groups))
        except LedgerGone:
            await self._stand_back(taken)
            return
        self._drop(taken)
        for position, waitings in enumerate(group.values()):
            if recorded is None:
                self._too_late(waitings)
            else:
                self._recorded(waitings, recorded[position].unsealed, set(recorded[position].refused))

    async def _stand_back(self, taken: list[_Waiting]) -> None:
        """Let other batches go first while recovery brings this one's ledger back."""
        self._drop(taken)
        self._waiting.extend(taken)
        _log.warning("ledger_gone", batch=taken[0].shard.batch_id, waiting=len(self._waiting))
        await asyncio.sleep(1.0)

    def _drop(self, taken: list[_Waiting]) -> None:
        gone = set(map(id, taken))
        self._waiting = [waiting for waiting in self._waiting if id(waiting) not in gone]

    def _recorded(self, waitings: list[_Waiting], unsealed: int, refused: set[int]) -> None:
        shard = waitings[0].shard
        for position, waiting in enumerate(waitings):
            if position in refused:
                self._let_go(len(waiting.entry.encoded))
                shard.stale = True
            else:
                self._keep(shard, waiting.entry)
                shard.tally.add(waiting.outcome)
        if unsealed != len(shard.unsealed) + shard.sealing:
            shard.stale = True
        shard.settle(len(waitings))

    def _too_late(self, waitings: list[_Waiting]) -> None:
        shard = waitings[0].shard
        shard.over = True
        for waiting in waitings:
            self._let_go(len(waiting.entry.encoded))
        shard.settle(len(waitings))

    def _keep(self, shard: OpenShard, entry: Entry) -> None:
        if not shard.unsealed:
            shard.since_s = self._monotonic()
        shard.unsealed.append(entry)
        shard.unsealed_bytes += len(entry.encoded)

    async def _read_back(self, shard: OpenShard) -> None:
        """Bring the unsealed lines in step with Redis, where another claim has recorded some too."""
        entries = await self._patiently(lambda: self._ledger.unsealed(shard.batch_id, shard.shard))
        self._let_go(shard.unsealed_bytes)
        shard.unsealed, shard.unsealed_bytes, shard.tally = [], 0, Tally()
        shard.stale = False
        self.adopt(shard, tuple(entries))

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step until Redis takes it: what is done is paid for, so it waits here rather than being lost."""
        delay_s = 0.05
        while True:
            try:
                return await step()
            except (RedisError, OSError) as error:
                _log.warning("redis_away", error=type(error).__name__, waiting=len(self._waiting), bytes=self._bytes)
                await asyncio.sleep(delay_s)
                delay_s = min(2.0, 2 * delay_s)

    def _hold(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        if self._bytes > self._most_bytes:
            self._room.clear()

    def _let_go(self, size_bytes: int) -> None:
        self._bytes -= size_bytes
        if self._bytes <= self._most_bytes:
            self._room.set()


def deltas_of(outcome: Outcome) -> Deltas:
    """What an outcome adds to the batch's counters in Redis."""
    known = [attempt.cost.nanousd for attempt in outcome.attempts]
    cancelled = outcome.code is Code.CANCELLED
    return Deltas(
        completed=int(outcome.ok),
        failed=int(not outcome.ok and not cancelled),
        cancelled=int(cancelled),
        attempts=len(known),
        nanousd=sum(cost for cost in known if cost is not None),
        unpriced=int(any(cost is None for cost in known)),
        tokens=sum(attempt.usage.total_tokens for attempt in outcome.attempts if attempt.usage is not None),
    )
