"""The ledger: what is known in Redis about batches that are under way.

Comes in: a batch to register, its states, its end, and (``ledger_shards``) all that happens to its shards. Goes out: the
progress that ``status`` shows, the flags that workers obey. Every change is one Lua script, so a counter never moves
without its line. The store remembers; all of this can be rebuilt from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bucketline import keys
from bucketline.batch import NEXT_STATES, BatchDocument, Progress, State, progress_from
from bucketline.ledger_shards import (
    Claim,
    ClaimLost,
    Deltas,
    Extent,
    LedgerGone,
    LinesLacking,
    OutOfStep,
    Recorded,
    ShardGroup,
    ShardLedger,
    script_text,
    set_bits,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = [
    "Claim",
    "ClaimLost",
    "Deltas",
    "Extent",
    "Flags",
    "Ledger",
    "LedgerGone",
    "LinesLacking",
    "OutOfStep",
    "Recorded",
    "ShardGroup",
]

_FOUND_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Flags:
    """What an operator or the clock wants of a batch at the moment."""

    state: State
    paused: bool
    deadline_s: float | None
    keep_in_flight: bool = False


class Ledger(ShardLedger):
    """All batches of one Redis."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self._register = redis.register_script(script_text("register"))
        self._reopen = redis.register_script(script_text("reopen"))
        self._state = redis.register_script(script_text("state"))
        self._finish = redis.register_script(script_text("finish"))

    async def register(
        self,
        document: BatchDocument,
        *,
        recorded: Iterable[int] = (),
        counters: Mapping[str, int] | None = None,
        ended: Iterable[int] = (),
        state: State = State.IN_PROGRESS,
        rebuilt: bool = False,
        orders: Mapping[str, str] | None = None,
    ) -> bool:
        """Open a batch; False when it is open already.

        ``recorded`` are lines that need no call (the rejects, and at recovery those in parts), ``counters`` the sums
        that go with them, ``ended`` the shards with no line left, ``orders`` what an operator wanted. ``rebuilt``: the
        store may know more than is said here, so every claim looks there too.
        """
        over = set(ended)
        fields: dict[str, Any] = {
            "state": state.value,
            "source": document.source,
            "total": document.lines,
            "created_s": repr(document.created_s),
            "shards": len(document.shards),
            "shards_left": len(document.shards) - len(over),
            "priority": document.options.priority,
            "failed": document.rejected,
        }
        if document.deadline_s is not None:
            fields["deadline_s"] = repr(document.deadline_s)
        fields |= {**(counters or {}), **(orders or {})}
        flat = [item for pair in fields.items() for item in pair]
        opened = await self._register(
            keys=[
                keys.batch_hash(document.id),
                keys.batch_done(document.id),
                keys.BATCHES,
                keys.batch_ended(document.id),
                keys.UNFINISHED,
            ],
            args=[document.id, document.created_s, _bitmap(recorded), _bitmap(over), int(not rebuilt), *flat],
        )
        return bool(opened)

    async def reopen(self, batch_id: str, lacking: Mapping[int, Iterable[int]], counters: Mapping[str, int]) -> None:
        """Open shards again whose parts lack lines (shard → lines), with the counters of what the parts hold."""
        fields = [item for pair in counters.items() for item in pair]
        lines = [line for some in lacking.values() for line in some]
        await self._reopen(
            keys=[keys.batch_hash(batch_id), keys.batch_done(batch_id), keys.batch_ended(batch_id)],
            args=[len(fields), *fields, len(lacking), *lacking, *lines],
        )

    async def move(self, batch_id: str, to: State, **fields: Any) -> State:
        """Move a batch to another state where that is allowed; the state it is in afterwards. Raises LedgerGone."""
        allowed = [state.value for state, following in NEXT_STATES.items() if to in following]
        flat = [item for pair in fields.items() for item in pair]
        answer = await self._state(keys=[keys.batch_hash(batch_id)], args=[to.value, len(allowed), *allowed, *flat])
        if answer[0] == -1:
            raise LedgerGone(batch_id)
        return State(answer[1].decode())

    async def set_field(self, batch_id: str, **fields: Any) -> None:
        """Set fields beside the counters, such as ``paused``. Raises LedgerGone."""
        if not await self._redis.exists(keys.batch_hash(batch_id)):
            raise LedgerGone(batch_id)
        await self._redis.hset(keys.batch_hash(batch_id), mapping=fields)  # type: ignore[misc]

    async def flags(self, batch_ids: Sequence[str]) -> tuple[dict[str, Flags], float]:
        """State, pause and deadline of several batches, and Redis' time (unix seconds), in one round trip.

        Batches that Redis does not know are left out.
        """
        pipe = self._redis.pipeline(transaction=False)
        for batch_id in batch_ids:
            pipe.hmget(keys.batch_hash(batch_id), ["state", "paused", "deadline_s", "keep_in_flight"])
        pipe.time()
        *rows, (seconds, micros) = await pipe.execute()
        found: dict[str, Flags] = {}
        for batch_id, (state, paused, deadline, keep) in zip(batch_ids, rows, strict=True):
            if state is not None:
                ends = float(deadline) if deadline else None
                found[batch_id] = Flags(State(state.decode()), paused == b"1", ends, keep == b"1")
        return found, int(seconds) + int(micros) / 1e6

    async def unknown(self, batch_ids: Sequence[str]) -> list[str]:
        """Those of several batches that Redis does not know."""
        found: list[str] = []
        for at in range(0, len(batch_ids), _FOUND_AT_ONCE):
            some = batch_ids[at : at + _FOUND_AT_ONCE]
            pipe = self._redis.pipeline(transaction=False)
            for batch_id in some:
                pipe.exists(keys.batch_hash(batch_id))
            found += [batch_id for batch_id, there in zip(some, await pipe.execute(), strict=True) if not there]
        return found

    async def progress(self, batch_id: str) -> Progress | None:
        """What is known of one batch; None when Redis does not know it."""
        raw: dict[bytes, bytes] = await self._redis.hgetall(keys.batch_hash(batch_id))  # type: ignore[misc]
        return progress_from(batch_id, raw)

    async def progress_of_many(self, batch_ids: Sequence[str]) -> list[Progress | None]:
        """``progress`` of several batches, in few round trips."""
        found: list[Progress | None] = []
        for at in range(0, len(batch_ids), _FOUND_AT_ONCE):
            some = batch_ids[at : at + _FOUND_AT_ONCE]
            pipe = self._redis.pipeline(transaction=False)
            for batch_id in some:
                pipe.hgetall(keys.batch_hash(batch_id))
            found += [progress_from(batch_id, raw) for batch_id, raw in zip(some, await pipe.execute(), strict=True)]
        return found

    async def recent(self, limit: int = 50) -> list[Progress]:
        """The newest batches, newest first."""
        ids = [raw.decode() for raw in await self._redis.zrevrange(keys.BATCHES, 0, limit - 1)]
        return [known for known in await self.progress_of_many(ids) if known is not None]

    async def unfinished(self, first: int, count: int) -> list[str]:
        """Some of the batches that are not over, oldest first, from the position ``first`` on."""
        return [raw.decode() for raw in await self._redis.zrange(keys.UNFINISHED, first, first + count - 1)]

    async def shards_left(self, batch_id: str) -> tuple[int, set[int]] | None:
        """How many shards have lines left, and the numbers of those; None when Redis does not know the batch."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(keys.batch_hash(batch_id), ["shards", "shards_left"])
        pipe.get(keys.batch_ended(batch_id))
        (shards, left), raw = await pipe.execute()
        if left is None:
            return None
        return int(left), set(range(int(shards))) - set(set_bits(raw or b"", 0))

    async def finish(
        self,
        batch_id: str,
        state: State,
        finished_s: float,
        reason: str | None = None,
        *,
        counters: Mapping[str, int] | None = None,
        shards: int = 0,
    ) -> None:
        """Close a batch for good: its manifest is in the store, and its sums are ``counters``.

        Whatever the state was: the manifest has the last word. What only a running batch needs is dropped.
        """
        fields: dict[str, Any] = {"state": state.value, "finished_s": repr(finished_s), **(counters or {})}
        if reason:
            fields["reason"] = reason
        flat = [item for pair in fields.items() for item in pair]
        names = [keys.batch_done(batch_id), keys.batch_claims(batch_id), keys.batch_ended(batch_id)]
        await self._finish(keys=[keys.batch_hash(batch_id), keys.UNFINISHED, *names], args=[batch_id, *flat])
        await self._drop_lists(batch_id, shards)

    async def forget(self, batch_id: str, shards: int = 0) -> None:
        """Drop everything about one batch; what the store holds of it stays."""
        await self._redis.unlink(
            keys.batch_hash(batch_id),
            keys.batch_done(batch_id),
            keys.batch_claims(batch_id),
            keys.batch_ended(batch_id),
        )
        await self._drop_lists(batch_id, shards)
        await self._redis.zrem(keys.BATCHES, batch_id)
        await self._redis.zrem(keys.UNFINISHED, batch_id)

    async def _drop_lists(self, batch_id: str, shards: int) -> None:
        """What a claim that was overtaken may have left of ended shards."""
        for at in range(0, shards, _FOUND_AT_ONCE):
            some = range(at, min(at + _FOUND_AT_ONCE, shards))
            await self._redis.unlink(
                *(keys.batch_open(batch_id, n) for n in some), *(keys.batch_hands(batch_id, n) for n in some)
            )


def _bitmap(positions: Iterable[int]) -> bytes:
    """Positions as SETBIT would have set them."""
    bits = bytearray()
    for position in positions:
        byte = position >> 3
        if byte >= len(bits):
            bits.extend(bytes(byte + 1 - len(bits)))
        bits[byte] |= 128 >> (position & 7)
    return bytes(bits)
