"""Equal requests of a batch are sent once, fleet-wide; the others wait and copy.

Comes in: a line of a batch with ``dedupe``. Goes out: its own outcome, or its equal's. In Redis stands for each content
which line is sent for all (the first that asked); inside a process its equals wait for it without asking Redis. An equal
in another process is read from where outcomes are recorded: the ledger, then the parts; nothing is kept twice. If the
line that is sent is in no worker's hands any more (its lease is gone) an equal takes its place, so nobody waits for the
dead. Called by ``shard``.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline import keys
from bucketline.batch import BatchDocument
from bucketline.layout import parts_prefix
from bucketline.ledger import Ledger
from bucketline.outcome import Outcome
from bucketline.part import parse_header
from bucketline.queue import mark_of
from bucketline.request import Request
from bucketline.sign import Reason
from bucketline.store import Store, StoreError
from worker.logs import logger
from worker.same import Told, content_key, copy_of, told_of, told_of_line
from worker.sight import Sight

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Dedupe"]

_log = logger(__name__)

_LOOK_S = 0.5  #: how often the outcomes of lines in other processes are looked for
_GATHER_S = 0.005  #: claims that come within this go to Redis together
_MOST_CLAIMS = 256
_KEPT_MS = 7 * 24 * 3600 * 1000
_LINES_A_SHARE = 100  #: small hashes take a third of the memory of large ones
_KEPT_BYTES = 32 * 1024 * 1024  #: outcomes of this process that later equals may copy without reading them

_Place = tuple[str, bytes]  #: batch, content


@dataclass(slots=True, eq=False)
class _Claim:
    batch: BatchDocument
    content: bytes
    line: int
    gone: int
    future: asyncio.Future[int]


@dataclass(slots=True, eq=False)
class _Far:
    """A line of another process whose outcome is waited for. The future's None: it is in nobody's hands."""

    batch: BatchDocument
    line: int
    future: asyncio.Future[Told | None]

    @property
    def shard(self) -> int:
        return bisect_right(self.batch.shards, self.line, key=lambda shard: shard[0]) - 1


@dataclass(slots=True)
class _Kept:
    """Outcomes by place, the oldest dropped when they are too large together."""

    told: OrderedDict[_Place, Told] = field(default_factory=OrderedDict)
    size_bytes: int = 0

    def add(self, place: _Place, told: Told) -> None:
        self.told[place] = told
        self.size_bytes += len(told[1]["body"] or b"") + 200
        while self.size_bytes > _KEPT_BYTES and self.told:
            _, old = self.told.popitem(last=False)
            self.size_bytes -= len(old[1]["body"] or b"") + 200


class Dedupe:
    """The equals of one process."""

    def __init__(self, redis: Redis, ledger: Ledger, store: Store, sight: Sight) -> None:
        self._redis = redis
        self._sight = sight
        self._ledger = ledger
        self._store = store
        self._script = redis.register_script(files("worker").joinpath("same_claim.lua").read_text(encoding="utf-8"))
        self._here: dict[_Place, asyncio.Future[Told | None]] = {}  # the one of each content that does the work
        self._kept = _Kept()
        self._claims: list[_Claim] = []
        self._far: dict[_Far, None] = {}
        self._parked: set[tuple[str, int]] = set()  # lines that wait for an equal of this process
        self._waiting = 0
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def parked(self) -> int:
        """Lines that wait for an equal at the moment."""
        return self._waiting

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._claiming()), asyncio.create_task(self._looking())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def outcome(self, request: Request, batch: BatchDocument, send: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """The line's outcome: by ``send``, or its equal's."""
        place = (batch.id, content_key(request))
        while True:
            told = self._kept.told.get(place)
            if told is not None:
                return copy_of(told, request)
            other = self._here.get(place)
            if other is None:
                return await self._work(place, request, batch, send)
            # The equal may be waiting for this very line, whose worker died and whose shard came here: it must not.
            self._parked.add((batch.id, request.line))
            try:
                told = await self._wait(batch, asyncio.shield(other))
            finally:
                self._parked.discard((batch.id, request.line))
            if told is not None:
                return copy_of(told, request)

    async def _work(
        self, place: _Place, request: Request, batch: BatchDocument, send: Callable[[], Awaitable[Outcome]]
    ) -> Outcome:
        """Be the one of this process that sends, or that waits for another process; its equals wait for it."""
        promise: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        self._here[place] = promise
        told: Told | None = None
        try:
            first = await self._claim(batch, place[1], request.line, 0)
            while first != request.line:
                told = await self._wait(batch, self._from_far(batch, first))
                if told is not None:
                    return copy_of(told, request)
                first = await self._claim(batch, place[1], request.line, first)
            outcome = await send()
            told = told_of(outcome)
            return outcome
        finally:
            del self._here[place]
            if told is not None:
                self._kept.add(place, told)
            promise.set_result(told)

    async def _wait(self, batch: BatchDocument, waited: Awaitable[Told | None]) -> Told | None:
        self._waiting += 1
        try:
            with self._sight.wait(batch.id, Reason.EQUAL):
                return await waited
        finally:
            self._waiting -= 1

    # ── who is sent ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _claim(self, batch: BatchDocument, content: bytes, line: int, gone: int) -> int:
        claim = _Claim(batch, content, line, gone, asyncio.get_running_loop().create_future())
        self._claims.append(claim)
        self._wake.set()
        return await claim.future

    async def _claiming(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            while self._claims:
                claims = self._claims[:_MOST_CLAIMS]
                try:
                    lines = await self._ask(claims)
                except (RedisError, OSError) as error:
                    _log.warning("redis_away", error=type(error).__name__)
                    await asyncio.sleep(_LOOK_S)
                    continue
                del self._claims[: len(claims)]
                for claim, line in zip(claims, lines, strict=True):
                    if not claim.future.done():
                        claim.future.set_result(line)

    async def _ask(self, claims: Sequence[_Claim]) -> list[int]:
        names, args = [], [_KEPT_MS]
        for claim in claims:
            share = int.from_bytes(claim.content[:4]) % (1 + claim.batch.lines // _LINES_A_SHARE)
            names.append(keys.batch_same(claim.batch.id, share))
            args += [claim.content, claim.line, claim.gone]  # type: ignore[list-item]
        return [int(line) for line in await self._script(keys=names, args=args)]

    # ── what became of a line elsewhere ───────────────────────────────────────────────────────────────────────────

    async def _from_far(self, batch: BatchDocument, line: int) -> Told | None:
        far = _Far(batch, line, asyncio.get_running_loop().create_future())
        self._far[far] = None
        try:
            return await far.future
        finally:
            self._far.pop(far, None)

    async def _looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._far:
                try:
                    await self._look(list(self._far))
                except (RedisError, OSError, StoreError) as error:
                    _log.warning("equals_not_read", error=type(error).__name__)

    async def _look(self, waited: Sequence[_Far]) -> None:
        """One round trip for all: is the line recorded, and if not, does anybody hold its shard?"""
        pipe = self._redis.pipeline(transaction=False)
        for far in waited:
            pipe.getbit(keys.batch_done(far.batch.id), far.line)
            pipe.exists(mark_of(keys.shard_job_id(far.batch.id, far.shard)))
        answers = await pipe.execute()
        done: dict[tuple[str, int], list[_Far]] = defaultdict(list)
        for far, recorded, held in zip(waited, answers[::2], answers[1::2], strict=True):
            if recorded:
                done[far.batch.id, far.shard].append(far)
            elif not held or (far.batch.id, far.line) in self._parked:
                _tell(far, None)
        for (batch_id, shard), group in done.items():
            found = await self._read(batch_id, shard, {far.line for far in group})
            for far in group:
                if far.line in found:
                    _tell(far, told_of_line(found[far.line]))

    async def _read(self, batch_id: str, shard: int, lines: set[int]) -> dict[int, bytes]:
        """Recorded lines of one shard: first where they lie before they are sealed, since they leave it for a part."""
        found = {e.line: e.encoded for e in await self._ledger.unsealed(batch_id, shard) if e.line in lines}
        if len(found) == len(lines):
            return found
        async for stat in self._store.list(f"{parts_prefix(batch_id)}{shard:07d}-"):
            raw = await self._store.get(stat.key)
            for line, _, at, size in parse_header(stat.key, raw).places:
                if line in lines:
                    found.setdefault(line, raw[at : at + size].rstrip(b"\n"))
        return found


def _tell(far: _Far, told: Told | None) -> None:
    if not far.future.done():
        far.future.set_result(told)
