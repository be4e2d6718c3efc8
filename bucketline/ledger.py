"""The ledger: what is known in Redis about batches that are under way.

Comes in: a batch to register, claims of shards, outcomes in groups, seals, states. Goes out: what a claim finds, what
was refused because a line had its outcome already, and the progress that ``status`` shows. Every change is one Lua
script, so a counter never moves without its line. The store remembers; all of this can be rebuilt from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bucketline import keys
from bucketline.batch import NEXT_STATES, BatchDocument, Progress, State, progress_from
from bucketline.part import Entry, decode_entry, encode_entry

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Claim", "Deltas", "Flags", "Ledger", "LedgerGone", "Recorded", "ShardGroup"]


class LedgerGone(Exception):
    """Redis does not know this batch (any more); recovery rebuilds it from the store."""


@dataclass(frozen=True, slots=True)
class Deltas:
    """What one outcome adds to a batch's counters."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0
    nanousd: int = 0
    unpriced: int = 0
    tokens: int = 0

    def spell(self) -> str:
        return (
            f"{self.completed} {self.failed} {self.cancelled} {self.attempts} "
            f"{self.nanousd} {self.unpriced} {self.tokens}"
        )


@dataclass(frozen=True, slots=True)
class ShardGroup:
    """Outcomes of one shard that go to the ledger together."""

    shard: int
    entries: Sequence[Entry]
    deltas: Sequence[Deltas]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a group: the unsealed list's length, and the positions (from 0) that came too late."""

    unsealed: int
    refused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker finds when it takes up a shard."""

    generation: int
    recorded: frozenset[int]  #: lines that have their outcome
    unsealed: tuple[Entry, ...]  #: recorded by an earlier claim, in no part yet


@dataclass(frozen=True, slots=True)
class Flags:
    """What an operator or the clock wants of a batch at the moment."""

    state: State
    paused: bool
    deadline_s: float | None
    keep_in_flight: bool = False


class Ledger:
    """All batches of one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._register = redis.register_script(_lua("register"))
        self._claim = redis.register_script(_lua("claim"))
        self._record = redis.register_script(_lua("record"))
        self._seal = redis.register_script(_lua("seal"))
        self._end = redis.register_script(_lua("end"))
        self._state = redis.register_script(_lua("state"))

    async def register(
        self,
        document: BatchDocument,
        *,
        recorded: Iterable[int] = (),
        counters: Mapping[str, int] | None = None,
        ended: Sequence[int] = (),
        state: State = State.IN_PROGRESS,
    ) -> bool:
        """Open a batch; False when it is open already.

        ``recorded`` are lines that need no call (the rejects, and at recovery those in parts), ``counters`` the sums
        that go with them, ``ended`` the shards with no line left.
        """
        fields: dict[str, Any] = {
            "state": state.value,
            "source": document.source,
            "total": document.lines,
            "created_s": repr(document.created_s),
            "shards": len(document.shards),
            "shards_left": len(document.shards) - len(ended),
            "priority": document.options.priority,
            "failed": document.rejected,
        }
        if document.deadline_s is not None:
            fields["deadline_s"] = repr(document.deadline_s)
        fields.update(counters or {})
        lines = list(recorded)
        flat = [item for pair in fields.items() for item in pair]
        opened = await self._register(
            keys=[
                keys.batch_hash(document.id),
                keys.batch_done(document.id),
                keys.BATCHES,
                keys.batch_ended(document.id),
            ],
            args=[document.id, document.created_s, len(fields), *flat, len(lines), *lines, *ended],
        )
        return bool(opened)

    async def claim(self, batch_id: str, shard: int, first_line: int, last_line: int) -> Claim | None:
        """Take up a shard; None when nothing is left to do. Raises LedgerGone."""
        first_byte, last_byte = first_line // 8, last_line // 8
        answer = await self._claim(
            keys=[
                keys.batch_hash(batch_id),
                keys.batch_done(batch_id),
                keys.batch_generations(batch_id),
                keys.batch_open(batch_id, shard),
                keys.batch_ended(batch_id),
            ],
            args=[shard, first_byte, last_byte],
        )
        if answer[0] == b"gone":
            raise LedgerGone(batch_id)
        if answer[0] == b"ended":
            return None
        _, generation, bits, unsealed = answer
        recorded = frozenset(line for line in _set_bits(bits, first_byte * 8) if first_line <= line <= last_line)
        return Claim(int(generation), recorded, tuple(decode_entry(raw) for raw in unsealed))

    async def record(self, batch_id: str, groups: Sequence[ShardGroup]) -> list[Recorded] | None:
        """Record outcomes of one batch, all shards in one step; None when the batch is over. Raises LedgerGone."""
        args: list[Any] = []
        for group in groups:
            args.append(len(group.entries))
            args.append(_sum(group.deltas).spell())
            for entry, deltas in zip(group.entries, group.deltas, strict=True):
                args += (entry.line, deltas.spell(), encode_entry(entry))
        lists = [keys.batch_open(batch_id, group.shard) for group in groups]
        answer = await self._record(keys=[keys.batch_hash(batch_id), keys.batch_done(batch_id), *lists], args=args)
        if answer[0] == b"gone":
            raise LedgerGone(batch_id)
        if answer[0] == b"over":
            return None
        return [Recorded(int(unsealed), tuple(int(p) - 1 for p in refused)) for unsealed, *refused in answer[1:]]

    async def unsealed(self, batch_id: str, shard: int) -> list[Entry]:
        """The recorded outcomes of a shard that no part holds yet, oldest first."""
        raw = await self._redis.lrange(keys.batch_open(batch_id, shard), 0, -1)  # type: ignore[misc]
        return [decode_entry(item) for item in raw]

    async def sealed(self, batch_id: str, shard: int, generation: int, count: int) -> int:
        """Drop the oldest ``count`` outcomes, which a part holds now; how many stay, -1 when the claim is not ours."""
        left = await self._seal(
            keys=[keys.batch_generations(batch_id), keys.batch_open(batch_id, shard)], args=[shard, generation, count]
        )
        return int(left)

    async def end_shard(self, batch_id: str, shard: int, generation: int) -> int:
        """Mark a shard as ended; how many are left, -1 when the claim is not ours."""
        left = await self._end(
            keys=[keys.batch_hash(batch_id), keys.batch_generations(batch_id), keys.batch_ended(batch_id)],
            args=[shard, generation],
        )
        return int(left)

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

    async def flags(self, batch_ids: Sequence[str]) -> dict[str, Flags]:
        """State, pause and deadline of several batches in one round trip; batches Redis does not know are left out."""
        pipe = self._redis.pipeline(transaction=False)
        for batch_id in batch_ids:
            pipe.hmget(keys.batch_hash(batch_id), ["state", "paused", "deadline_s", "keep_in_flight"])
        found: dict[str, Flags] = {}
        for batch_id, (state, paused, deadline, keep) in zip(batch_ids, await pipe.execute(), strict=True):
            if state is not None:
                ends = float(deadline) if deadline else None
                found[batch_id] = Flags(State(state.decode()), paused == b"1", ends, keep == b"1")
        return found

    async def progress(self, batch_id: str) -> Progress | None:
        """What is known of one batch; None when Redis does not know it."""
        raw: dict[bytes, bytes] = await self._redis.hgetall(keys.batch_hash(batch_id))  # type: ignore[misc]
        return progress_from(batch_id, raw)

    async def recent(self, limit: int = 50) -> list[Progress]:
        """The newest batches, newest first, in two round trips."""
        ids = [raw.decode() for raw in await self._redis.zrevrange(keys.BATCHES, 0, limit - 1)]
        pipe = self._redis.pipeline(transaction=False)
        for batch_id in ids:
            pipe.hgetall(keys.batch_hash(batch_id))
        found = zip(ids, await pipe.execute(), strict=True)
        return [known for batch_id, raw in found if (known := progress_from(batch_id, raw)) is not None]

    async def shards_left(self, batch_id: str) -> int | None:
        """How many shards have lines left; None when Redis does not know the batch."""
        left = await self._redis.hget(keys.batch_hash(batch_id), "shards_left")  # type: ignore[misc]
        return None if left is None else int(left)

    async def ended_shards(self, batch_id: str, count: int) -> set[int]:
        """The numbers of the shards that have ended, of ``count`` in all."""
        raw = await self._redis.get(keys.batch_ended(batch_id)) or b""
        return {number for number in _set_bits(raw, 0) if number < count}

    async def finish(self, batch_id: str, state: State, finished_s: float, reason: str | None = None) -> None:
        """Close a batch for good: its manifest is in the store. What only a running batch needs is dropped."""
        fields: dict[str, Any] = {"finished_s": repr(finished_s)}
        if reason:
            fields["reason"] = reason
        await self.move(batch_id, state, **fields)
        await self._redis.unlink(
            keys.batch_done(batch_id), keys.batch_generations(batch_id), keys.batch_ended(batch_id)
        )

    async def forget(self, batch_id: str) -> None:
        """Drop everything about one batch; its results stay in the store."""
        await self._redis.unlink(
            keys.batch_hash(batch_id),
            keys.batch_done(batch_id),
            keys.batch_generations(batch_id),
            keys.batch_ended(batch_id),
        )
        await self._redis.zrem(keys.BATCHES, batch_id)


def _lua(name: str) -> str:
    return files("bucketline").joinpath(f"ledger_{name}.lua").read_text(encoding="utf-8")


def _sum(deltas: Sequence[Deltas]) -> Deltas:
    if len(deltas) == 1:
        return deltas[0]
    return Deltas(
        sum(d.completed for d in deltas),
        sum(d.failed for d in deltas),
        sum(d.cancelled for d in deltas),
        sum(d.attempts for d in deltas),
        sum(d.nanousd for d in deltas),
        sum(d.unpriced for d in deltas),
        sum(d.tokens for d in deltas),
    )


def _set_bits(raw: bytes, first: int) -> Iterable[int]:
    """The positions of set bits as SETBIT counts them (the highest bit of a byte first)."""
    for position, byte in enumerate(raw):
        if byte:
            for bit in range(8):
                if byte & (128 >> bit):
                    yield first + 8 * position + bit
