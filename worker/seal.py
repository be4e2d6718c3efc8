"""From recorded to sealed: a shard's lines leave Redis for an immutable part in the store.

Comes in: an open shard with recorded lines. Goes out: one part object, and a shorter list in Redis. Where the list in Redis
may be another than is known here (another claim has recorded lines, Redis was emptied or set back), our lines are offered
again at once, whether or not the store takes parts, and the list is read back: so a recorded answer outlives Redis as long as
the worker that has it. Called by ``shard``; each step either happens or raises, and may be tried again. Patience is the caller's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence

from redis.exceptions import RedisError

from bucketline.layout import part_object, shard_parts_prefix
from bucketline.ledger import ClaimLost, Deltas, Ledger, LedgerGone, ShardGroup
from bucketline.outcome import Outcome
from bucketline.part import BadPart, Entry, check_body, encode_part, parse_header
from bucketline.splice import loads
from bucketline.store import NotFound, Store, StoreUnavailable
from bucketline.tally import Tally
from worker.logs import logger
from worker.openshard import OpenShard, deltas_of_line
from worker.record import Recorder

__all__ = ["SEAL_BYTES", "SEAL_S", "Sealer"]

_log = logger(__name__)

SEAL_BYTES = 8 * 1024 * 1024  #: a part is written when a shard's unsealed lines have grown to this
SEAL_S = 60.0  #: or are this old
_AT_ONCE = 256  #: lines in one script call
_MOST_DELAY_S = 15.0
_SPILL_S = 20.0


class Sealer:
    """Writes the parts of one process."""

    def __init__(
        self, ledger: Ledger, store: Store, recorder: Recorder, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._recorder = recorder
        self._monotonic = monotonic

    def is_due(self, shard: OpenShard) -> bool:
        """Whether a part should be written now: lines have grown or aged, Redis or memory is full, or something is odd."""
        if shard.stale:
            return True
        if not shard.unsealed:
            return False
        aged = self._monotonic() - shard.since_s > SEAL_S
        return aged or shard.unsealed_bytes > SEAL_BYTES or self._recorder.pressed or self._recorder.is_full

    async def seal(self, shard: OpenShard) -> None:
        """Write the shard's unsealed lines as a part and drop them from Redis.

        Raises ClaimLost, LedgerGone, OutOfStep, and the store's and Redis' errors; what is not dropped stays known here.
        """
        async with shard.lock:
            await self.bring_in_step(shard)
            if not shard.unsealed:
                return
            # A worker that was stopped for long must not add parts to a batch that others have finished meanwhile.
            if not await self._ledger.is_newest(shard.batch_id, shard.shard, shard.generation):
                raise ClaimLost(shard.batch_id)
            entries, tally, size = shard.unsealed, shard.tally, shard.unsealed_bytes
            shard.unsealed, shard.tally, shard.unsealed_bytes = [], Tally(), 0
            shard.sealing = entries
            try:
                await self._write(shard, entries, tally)
                async with self._recorder.lock:
                    left = await self._ledger.sealed(shard.batch_id, shard.shard, shard.generation, entries)
                    shard.sealing = []
                    shard.stale = shard.stale or left != len(shard.unsealed)
            except BaseException:
                shard.unsealed, shard.sealing = entries + shard.unsealed, []
                shard.unsealed_bytes += size
                shard.tally.merge(tally)
                shard.stale = True  # whether the last step was done is not known
                raise
            self._recorder.let_go(size)

    def keep_safe(self, shard: OpenShard) -> None:
        """Beside the lines: bring Redis in step, however the store is, and seal where it is due; both are tried again."""
        if shard.stale and (shard.offerer is None or shard.offerer.done()):
            shard.offerer = asyncio.create_task(self._offer_quietly(shard))
        if not self.is_due(shard) or self._monotonic() < shard.seal_not_before_s:
            return
        if shard.sealer is None or shard.sealer.done():
            shard.sealer = asyncio.create_task(self._seal_quietly(shard))

    async def _offer_quietly(self, shard: OpenShard) -> None:
        try:
            await self.bring_in_step(shard)
        except ClaimLost:
            shard.lose()
        except (RedisError, OSError, LedgerGone):
            return  # it is stale still, and the next look tries again
        except Exception as error:
            _log.error("offer_broke", batch=shard.batch_id, shard=shard.shard, error=type(error).__name__)

    async def _seal_quietly(self, shard: OpenShard) -> None:
        try:
            await self.seal(shard)
        except ClaimLost:
            shard.lose()
        except Exception as error:
            shard.seal_delay_s = min(_MOST_DELAY_S, max(0.5, 2 * shard.seal_delay_s))
            shard.seal_not_before_s = self._monotonic() + shard.seal_delay_s
            _log.warning("not_sealed", batch=shard.batch_id, shard=shard.shard, reason=type(error).__name__)
        else:
            shard.seal_delay_s = 0.0

    async def known(self, shard: OpenShard, recorded: Iterable[int]) -> set[int]:
        """The lines that parts of the shard hold and the ledger did not know of; it knows them afterwards.

        Raises LedgerGone, and the store's and Redis' errors.
        """
        seen = set(recorded)
        found: set[int] = set()
        async for stat in self._store.list(shard_parts_prefix(shard.batch_id, shard.shard)):
            entries = [entry for entry in await self._entries(stat.key) if entry.line not in seen | found]
            await self._offer(shard, entries, in_parts=True)
            found.update(entry.line for entry in entries)
        return found

    async def spill(self, shard: OpenShard, outcomes: Sequence[tuple[Entry, Outcome]]) -> None:
        """Write what Redis did not take, or may not keep, when this process must go. Whoever claims the shard finds it."""
        entries = [*shard.unsealed, *(entry for entry, _ in outcomes)]
        if not entries or not shard.generation:
            return
        tally = Tally()
        tally.merge(shard.tally)
        for _, outcome in outcomes:
            tally.add(outcome)
        async with asyncio.timeout(_SPILL_S):
            await self._write(shard, entries, tally)

    def adopt(self, shard: OpenShard, entries: Iterable[Entry]) -> None:
        """Take over lines that are recorded and in no part yet, at the beginning of a claim.

        They are sealed at the next look: nobody but Redis had them for a while, and nobody knows how old they are.
        """
        self._take_over(shard, entries)
        shard.since_s = -math.inf
        self._recorder.hold(shard.unsealed_bytes)

    def _take_over(self, shard: OpenShard, entries: Iterable[Entry]) -> None:
        for entry in entries:
            shard.keep(entry, self._monotonic())
            shard.tally.add_line(loads(entry.encoded))

    def forget(self, shard: OpenShard) -> None:
        """Let go of a shard that ended, that another worker has, or that is handed back."""
        shard.closed = True
        self._recorder.let_go(shard.unsealed_bytes)
        shard.unsealed, shard.unsealed_bytes, shard.tally = [], 0, Tally()

    async def _write(self, shard: OpenShard, entries: Sequence[Entry], tally: Tally) -> None:
        key = part_object(shard.batch_id, shard.shard, shard.generation, shard.sequence)
        shard.sequence += 1
        await self._store.put(key, encode_part(shard.shard, shard.generation, entries, tally.document()))

    async def bring_in_step(self, shard: OpenShard) -> None:
        """Offer our lines again, which changes nothing where Redis has them, then take the list as it is there.

        Raises ClaimLost, LedgerGone, and Redis' errors.
        """
        async with self._recorder.lock:
            if not shard.stale:
                return
            ours = [*shard.sealing, *shard.unsealed]
            await self._offer(shard, ours)
            entries = await self._ledger.unsealed(shard.batch_id, shard.shard)
            if shard.closed:
                return
            shard.elsewhere |= {entry.line for entry in entries} - {entry.line for entry in ours}
            # A part that is being written has its lines; where they do not stand first, dropping them fails and tells.
            written = {entry.line for entry in shard.sealing}
            before_bytes = shard.unsealed_bytes
            shard.unsealed, shard.unsealed_bytes, shard.tally = [], 0, Tally()
            self._take_over(shard, (entry for entry in entries if entry.line not in written))
            # Only the difference: a moment of seeming room would let calls go whose answers cannot be kept.
            self._recorder.hold(shard.unsealed_bytes - before_bytes)
            shard.stale = False

    async def _offer(self, shard: OpenShard, entries: Sequence[Entry], *, in_parts: bool = False) -> None:
        for at in range(0, len(entries), _AT_ONCE):
            some = entries[at : at + _AT_ONCE]
            deltas: list[Deltas] = [deltas_of_line(entry.encoded) for entry in some]
            if await self._ledger.record(shard.batch_id, [ShardGroup(shard.shard, some, deltas, in_parts)]) is None:
                shard.over = True
                raise ClaimLost(shard.batch_id)

    async def _entries(self, key: str) -> list[Entry]:
        try:
            raw = await self._store.get(key)
            part = parse_header(key, raw)
            check_body(part, raw)
        except NotFound:
            raise StoreUnavailable(f"{key} is listed and cannot be read yet; it is tried again.") from None
        except BadPart as error:
            _log.error("bad_part", part=key, reason=str(error))
            return []
        return [Entry(line, ok, raw[at : at + size - 1]) for line, ok, at, size in part.places]
