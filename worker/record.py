"""From outcome to safe: group commit to the ledger.

Comes in: outcomes as lines end. Goes out: every few milliseconds one script call a batch that records many of them at
once. An answer is safe when it is recorded. While Redis is away, full, or has forgotten a batch, the outcomes wait here and
are offered again; their bytes, and those of recorded lines that no part holds yet, are counted, and where they grow beyond
the bound no further call is let go. Called by ``shard`` and ``seal``; decides nothing about a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from redis.exceptions import OutOfMemoryError, RedisError

from bucketline.failure import TABLE, Code, Kind
from bucketline.ledger import Deltas, Ledger, LedgerGone, Recorded, ShardGroup
from bucketline.outcome import Outcome, encode_outcome
from bucketline.part import Entry
from worker.logs import logger
from worker.openshard import OpenShard

__all__ = ["Recorder", "deltas_of"]

_log = logger(__name__)

_COMMIT_S = 0.05  #: how long an outcome may wait for others to be recorded with it
_COMMIT_LINES = 256  #: one script call carries at most this many
_COMMIT_BYTES = 4 * 1024 * 1024  #: and, but for a single line, at most this much
_MOST_DELAY_S = 0.5  #: what waits here dies with the process, so Redis is asked again soon


@dataclass(slots=True)
class _Waiting:
    shard: OpenShard
    entry: Entry
    deltas: Deltas
    outcome: Outcome
    withdrawn: bool = False  #: given up while Redis was being asked


@dataclass(slots=True)
class _Line:
    """The outcomes of one batch, in the order in which they came."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    not_before_s: float = 0.0
    delay_s: float = 0.0

    def block(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        size_bytes = 0
        for one in islice(self.waiting, _COMMIT_LINES):
            size_bytes += len(one.entry.encoded)
            if taken and size_bytes > _COMMIT_BYTES:
                break
            taken.append(one)
        return taken


class Recorder:
    """The outcomes of one process on their way to Redis. ``hold_back`` hears whether calls must wait for memory."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        most_bytes: int,
        hold_back: Callable[[bool], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = asyncio.Lock()  #: held while a shard's list in Redis and what is known of it here may differ
        self.pressed = False  #: Redis takes no more: parts make room there
        self._ledger = ledger
        self._most_bytes = most_bytes
        self._hold_back = hold_back
        self._monotonic = monotonic
        self._lines: dict[str, _Line] = {}
        self._bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="recorder")

    async def close(self, patience_s: float = 5.0) -> None:
        """Record what waits, then stop; called after the last shard has ended. What is left then is asked again."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=patience_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        left = sum(len(line.waiting) for line in self._lines.values())
        if left:
            _log.error("answers_not_recorded", lines=left)

    async def flushed(self, shard: OpenShard) -> None:
        """Wait until every outcome of a shard has been recorded or refused."""
        while shard.waiting:
            self._wake.set()
            await asyncio.sleep(_COMMIT_S / 2)

    @property
    def is_full(self) -> bool:
        """Whether no more answers should come in before Redis and the store have taken some."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait until there is memory for more answers; at once in normal weather."""
        await self._room.wait()

    @property
    def held_bytes(self) -> int:
        """Outcomes that wait, and recorded lines that no part holds yet."""
        return self._bytes

    def put(self, shard: OpenShard, outcome: Outcome) -> None:
        """Take one outcome. It is safe only when ``shard.pending`` has fallen. Never raises."""
        outcome, encoded = _encoded(shard.batch_id, outcome)
        entry = Entry(outcome.line, outcome.ok, encoded)
        line = self._lines.setdefault(shard.batch_id, _Line())
        line.waiting.append(_Waiting(shard, entry, deltas_of(outcome), outcome))
        shard.waiting += 1
        self.hold(len(encoded))
        if not self._wake.is_set():
            self._wake.set()

    def take_back(self, shard: OpenShard) -> list[tuple[Entry, Outcome]]:
        """Give a shard's outcomes up that Redis did not take; somebody else sees to them."""
        line = self._lines.get(shard.batch_id)
        if line is None or not shard.waiting:
            return []
        mine = [one for one in line.waiting if one.shard is shard]
        line.waiting = deque(one for one in line.waiting if one.shard is not shard)
        for one in mine:
            one.withdrawn = True
            self.let_go(len(one.entry.encoded))
        shard.waiting -= len(mine)
        return [(one.entry, one.outcome) for one in mine]

    def hold(self, size_bytes: int) -> None:
        """Count so many bytes more, or with a negative figure fewer."""
        if size_bytes < 0:
            self.let_go(-size_bytes)
            return
        self._bytes += size_bytes
        if self._bytes > self._most_bytes and self._room.is_set():
            self._room.clear()
            self._hold_back(True)
            _log.warning("holding_back", bytes=self._bytes)

    def let_go(self, size_bytes: int) -> None:
        self._bytes -= size_bytes
        if self._bytes <= self._most_bytes and not self._room.is_set():
            self._room.set()
            self._hold_back(False)

    # ── the pump ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while self._lines or not self._closing:
            await self._wake.wait()
            if not self._closing and sum(len(line.waiting) for line in self._lines.values()) < _COMMIT_LINES:
                await asyncio.sleep(_COMMIT_S)
            self._wake.clear()
            while (batch_id := await self._next()) is not None:
                await self._commit(batch_id, self._lines[batch_id])

    async def _next(self) -> str | None:
        """The batch whose turn it is; waits while all that have outcomes must wait. None: there are none."""
        while True:
            for batch_id in [one for one, line in self._lines.items() if not line.waiting]:
                del self._lines[batch_id]
            if not self._lines:
                return None
            soonest = min(self._lines, key=lambda one: self._lines[one].not_before_s)
            pause_s = self._lines[soonest].not_before_s - self._monotonic()
            if pause_s <= 0:
                self._lines[soonest] = self._lines.pop(soonest)  # to the end: batches take turns
                return soonest
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            await asyncio.sleep(_COMMIT_S)

    async def _commit(self, batch_id: str, line: _Line) -> None:
        """One script call for one batch's outcomes; nothing leaves the queue before Redis has answered."""
        try:
            async with self.lock:
                taken = line.block()
                if not taken:
                    return
                group: dict[int, list[_Waiting]] = {}
                for waiting in taken:
                    group.setdefault(id(waiting.shard), []).append(waiting)
                recorded = await self._ledger.record(batch_id, [_group(waitings) for waitings in group.values()])
                self._answered(line, group, recorded)
        except LedgerGone:
            self._put_off(batch_id, line, "ledger_gone")
            for shard in {id(one.shard): one.shard for one in line.waiting}.values():
                shard.stale = True
        except (RedisError, OSError) as error:
            self.pressed = isinstance(error, OutOfMemoryError) or "-OOM" in str(error)
            self._put_off(batch_id, line, type(error).__name__)
        except Exception as error:  # a fault of ours must not end the only way to Redis
            self._put_off(batch_id, line, type(error).__name__)
        else:
            self.pressed, line.delay_s = False, 0.0

    def _put_off(self, batch_id: str, line: _Line, why: str) -> None:
        """What is done is paid for, so it waits here rather than being lost; other batches go first."""
        line.delay_s = min(_MOST_DELAY_S, max(0.05, 2 * line.delay_s))
        line.not_before_s = self._monotonic() + line.delay_s
        _log.warning("not_recorded_yet", batch=batch_id, why=why, waiting=len(line.waiting), bytes=self._bytes)

    def _answered(self, line: _Line, group: dict[int, list[_Waiting]], recorded: list[Recorded] | None) -> None:
        for position, waitings in enumerate(group.values()):
            if recorded is None:
                self._too_late(waitings)
            else:
                self._recorded(waitings, recorded[position].unsealed, set(recorded[position].refused))
        # A shard may have been given up while Redis answered: then its outcomes are not in the line any more.
        gone = {id(one) for waitings in group.values() for one in waitings if not one.withdrawn}
        while line.waiting and id(line.waiting[0]) in gone:
            line.waiting.popleft()

    def _recorded(self, waitings: list[_Waiting], unsealed: int, refused: set[int]) -> None:
        shard = waitings[0].shard
        for position, waiting in enumerate(waitings):
            if waiting.withdrawn:
                continue
            if position in refused or shard.closed:
                self.let_go(len(waiting.entry.encoded))
                shard.stale = True
            else:
                shard.keep(waiting.entry, self._monotonic())
                shard.tally.add(waiting.outcome)
        if unsealed != shard.listed:
            shard.stale = True
        self._settled(shard, waitings)

    def _too_late(self, waitings: list[_Waiting]) -> None:
        shard = waitings[0].shard
        shard.over = True
        self.let_go(sum(len(waiting.entry.encoded) for waiting in waitings if not waiting.withdrawn))
        self._settled(shard, waitings)

    def _settled(self, shard: OpenShard, waitings: list[_Waiting]) -> None:
        lines = sum(not waiting.withdrawn for waiting in waitings)
        shard.waiting -= lines
        shard.settle(lines)


def _group(waitings: list[_Waiting]) -> ShardGroup:
    return ShardGroup(waitings[0].shard.shard, [w.entry for w in waitings], [w.deltas for w in waitings])


def _encoded(batch_id: str, outcome: Outcome) -> tuple[Outcome, bytes]:
    """The line's bytes; an outcome that cannot be spelled becomes one that says so, with its attempts."""
    try:
        return outcome, encode_outcome(batch_id, outcome)
    except Exception as error:
        _log.error("line_cannot_be_spelled", batch=batch_id, line=outcome.line, error=type(error).__name__)
    row = TABLE[Kind.INTERNAL]
    plain = Outcome(
        line=outcome.line,
        custom_id=outcome.custom_id if isinstance(outcome.custom_id, (int, float, bool)) else None,
        requested_model="",
        code=row.code,
        message="The answer cannot be written as JSON.",
        attempts=outcome.attempts,
        usage=outcome.usage,
    )
    return plain, encode_outcome(batch_id, plain)


def deltas_of(outcome: Outcome) -> Deltas:
    """What an outcome adds to the batch's counters in Redis."""
    cancelled = outcome.code is Code.CANCELLED
    nanousd = unpriced = tokens = 0
    for attempt in outcome.attempts:
        cost, usage = attempt.cost.nanousd, attempt.usage
        if cost is None:
            unpriced = 1
        else:
            nanousd += cost
        if usage is not None:
            tokens += usage.input_tokens + usage.output_tokens
    failed = not outcome.ok and not cancelled
    return Deltas(int(outcome.ok), int(failed), int(cancelled), len(outcome.attempts), nanousd, unpriced, tokens)
