"""The ledger's side of a shard: claims, outcomes, seals, ends.

Comes in: a shard's claim, its outcomes in groups, what a part holds by now. Goes out: what a claim finds, what was refused
because a line had its outcome already, and three plain words where a step cannot be done: the ledger is gone, the claim is
another's, the list is not what was thought. Every step is one Lua script and may be asked for twice: a connection that
breaks after the script ran tells nobody so. ``Ledger`` adds the batch's side.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from bucketline import keys
from bucketline.part import Entry, decode_entry, encode_entry
from bucketline.queue import mark_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = [
    "Claim",
    "ClaimLost",
    "Deltas",
    "Extent",
    "LedgerGone",
    "LinesLacking",
    "OutOfStep",
    "Recorded",
    "Renewed",
    "ShardGroup",
    "ShardLedger",
    "Standing",
    "script_text",
    "set_bits",
]


class LedgerGone(Exception):
    """Redis does not know this batch (any more); recovery rebuilds it from the store."""


class ClaimLost(Exception):
    """Another worker has taken the shard up, or its batch has finished; what was recorded stays."""


class LinesLacking(Exception):
    """Lines of a shard that was thought to be done have no outcome in Redis: they are asked again, or offered again."""


class OutOfStep(Exception):
    """The list of unsealed outcomes in Redis is not what this process thinks: read it again."""


class Deltas(NamedTuple):
    """What one outcome adds to a batch's counters."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0
    nanousd: int = 0
    unpriced: int = 0
    tokens: int = 0

    def spell(self) -> str:
        return " ".join(map(str, self))


class Extent(NamedTuple):
    """The lines of a shard: the first, the last, and how many there are."""

    first_line: int
    last_line: int
    lines: int


@dataclass(frozen=True, slots=True)
class ShardGroup:
    """Outcomes of one shard that go to the ledger together; ``in_parts``: a part of the store holds them already."""

    shard: int
    entries: Sequence[Entry]
    deltas: Sequence[Deltas]
    in_parts: bool = False


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
    strikes: int = 0  #: earlier claims that neither ended nor were handed back
    doubt: bool = False  #: parts may hold lines that ``recorded`` lacks
    inherited: bool = False  #: an earlier claim was there: its worker may live, cut off, and record its answers late


@dataclass(frozen=True, slots=True)
class Standing:
    """How one shard of ours stands: whether the lease is ours, the newest claim, the unsealed list's length."""

    ours: bool
    newest: int  #: 0 where Redis knows no claim
    unsealed: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """Which life of which server answered ("" where it does not say), and how each shard stands, in the order asked."""

    run: str
    standings: Sequence[Standing]


class ShardLedger:
    """All shards of one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._claim = redis.register_script(script_text("claim"))
        self._record = redis.register_script(script_text("record"))
        self._seal = redis.register_script(script_text("seal"))
        self._end = redis.register_script(script_text("end"))
        self._renew = redis.register_script(script_text("renew"))
        self._release = redis.register_script(script_text("release"))

    async def claim(self, batch_id: str, shard: int, first_line: int, last_line: int, owner: str = "") -> Claim | None:
        """Take up a shard; None when nothing is left to do. Raises LedgerGone, and ClaimLost when another holds it."""
        first_byte, last_byte = first_line // 8, last_line // 8
        answer = await self._claim(
            keys=[
                keys.batch_hash(batch_id),
                keys.batch_done(batch_id),
                keys.batch_claims(batch_id),
                keys.batch_open(batch_id, shard),
                keys.batch_ended(batch_id),
                mark_of(keys.shard_job_id(batch_id, shard)),
            ],
            args=[shard, first_byte, last_byte, secrets.token_hex(8), owner],
        )
        if answer[0] == b"gone":
            raise LedgerGone(batch_id)
        if answer[0] == b"held":
            raise ClaimLost(batch_id)
        if answer[0] == b"ended":
            return None
        _, generation, bits, unsealed, strikes, doubt, inherited = answer
        recorded = frozenset(line for line in set_bits(bits, first_byte * 8) if first_line <= line <= last_line)
        entries = tuple(decode_entry(raw) for raw in unsealed)
        return Claim(int(generation), recorded, entries, int(strikes), bool(doubt), bool(inherited))

    async def record(self, batch_id: str, groups: Sequence[ShardGroup]) -> list[Recorded] | None:
        """Record outcomes of one batch, all shards in one step; None when the batch is over. Raises LedgerGone."""
        args: list[Any] = []
        for group in groups:
            sums = Deltas(*map(sum, zip(*group.deltas, strict=True)))
            lines = " ".join([str(entry.line) for entry in group.entries])
            single = ";".join([deltas.spell() for deltas in group.deltas])
            args += (group.shard, len(group.entries), sums.spell(), lines, single, int(group.in_parts))
            if not group.in_parts:
                args += [encode_entry(entry) for entry in group.entries]
        lists = [keys.batch_open(batch_id, group.shard) for group in groups]
        answer = await self._record(
            keys=[keys.batch_hash(batch_id), keys.batch_done(batch_id), keys.batch_ended(batch_id), *lists], args=args
        )
        if answer[0] == b"gone":
            raise LedgerGone(batch_id)
        if answer[0] == b"over":
            return None
        return [Recorded(int(unsealed), tuple(int(p) - 1 for p in refused)) for unsealed, *refused in answer[1:]]

    async def is_recorded(self, batch_id: str, line: int) -> bool:
        """Whether a line has its outcome."""
        return bool(await self._redis.getbit(keys.batch_done(batch_id), line))

    async def unsealed(self, batch_id: str, shard: int) -> list[Entry]:
        """The recorded outcomes of a shard that no part holds yet, oldest first."""
        raw = await self._redis.lrange(keys.batch_open(batch_id, shard), 0, -1)  # type: ignore[misc]
        return [decode_entry(item) for item in raw]

    async def is_newest(self, batch_id: str, shard: int, generation: int) -> bool:
        """Whether nobody has claimed the shard after this claim."""
        newest = await self._redis.hget(keys.batch_claims(batch_id), str(shard))  # type: ignore[misc]
        return int(newest or 0) <= generation

    async def sealed(self, batch_id: str, shard: int, generation: int, entries: Sequence[Entry]) -> int:
        """Drop the oldest outcomes, which a part holds now; how many stay. Raises LedgerGone, ClaimLost, OutOfStep."""
        left = await self._seal(
            keys=[keys.batch_hash(batch_id), keys.batch_claims(batch_id), keys.batch_open(batch_id, shard)],
            args=[shard, generation, len(entries), entries[0].line, entries[-1].line],
        )
        return _left(left, batch_id)

    async def end_shard(self, batch_id: str, shard: int, generation: int, extent: Extent) -> int:
        """Mark a shard as ended; how many are left.

        Raises LedgerGone, ClaimLost, OutOfStep when lines are unsealed, LinesLacking when some have no outcome.
        """
        left = await self._end(
            keys=[
                keys.batch_hash(batch_id),
                keys.batch_claims(batch_id),
                keys.batch_ended(batch_id),
                keys.batch_open(batch_id, shard),
                keys.batch_hands(batch_id, shard),
                keys.batch_done(batch_id),
            ],
            args=[shard, generation, *extent],
        )
        return _left(left, batch_id)

    async def renew(self, owner: str, life_s: float, shards: Sequence[tuple[str, int]]) -> Renewed:
        """Renew the leases of shards (batch, number) in one step, and see how they stand; of none costs a command all the same.

        A lease that nobody has becomes ours, one that another has stays his.
        """
        names = [
            name
            for batch_id, shard in shards
            for name in (
                mark_of(keys.shard_job_id(batch_id, shard)),
                keys.batch_claims(batch_id),
                keys.batch_open(batch_id, shard),
            )
        ]
        return await self._renewed(owner, life_s, names, [shard for _, shard in shards])

    async def renew_finish(self, owner: str, life_s: float, batch_id: str) -> bool:
        """The same for the job that finishes a batch; whether it is ours."""
        names = [mark_of(keys.finish_job_id(batch_id)), keys.batch_claims(batch_id), keys.batch_hash(batch_id) + ":"]
        (standing,) = (await self._renewed(owner, life_s, names, [-1])).standings
        return standing.ours

    async def _renewed(self, owner: str, life_s: float, names: list[str], shards: list[int]) -> Renewed:
        run, *answers = await self._renew(keys=names, args=[owner, int(life_s * 1000), *shards])
        standings = [Standing(bool(mine), int(newest or 0), int(unsealed)) for mine, newest, unsealed in answers]
        return Renewed(run.decode(), standings)

    async def release(self, batch_id: str, shard: int, in_hand: Mapping[int, int] | None = None) -> None:
        """Say that a claim ends without harm, as do the lines that were in hand, with their weights."""
        flat = [item for pair in (in_hand or {}).items() for item in pair]
        await self._release(
            keys=[keys.batch_hash(batch_id), keys.batch_claims(batch_id), keys.batch_hands(batch_id, shard)],
            args=[shard, *flat],
        )

    async def hands(self, batch_id: str, shard: int) -> dict[int, int]:
        """The lines that were in hand when workers died, and how much each death weighs against them."""
        raw = await self._redis.hgetall(keys.batch_hands(batch_id, shard))  # type: ignore[misc]
        return {int(line): int(weight) for line, weight in raw.items() if int(weight) > 0}

    async def weigh(self, batch_id: str, shard: int, lines: Iterable[int], weight: int) -> None:
        """Take lines in hand with a weight, or with the same below zero let them go."""
        pipe = self._redis.pipeline(transaction=True)
        for line in lines:
            pipe.hincrby(keys.batch_hands(batch_id, shard), str(line), weight)
        await pipe.execute()


@cache
def script_text(name: str) -> str:
    """Read once: every submit opens a ledger; reading its scripts took an eighth of a busy inbox's loop."""
    return files("bucketline").joinpath(f"ledger_{name}.lua").read_text(encoding="utf-8")


def set_bits(raw: bytes, first: int) -> Iterable[int]:
    """The positions of set bits as SETBIT counts them (the highest bit of a byte first)."""
    for position, byte in enumerate(raw):
        if byte:
            for bit in range(8):
                if byte & (128 >> bit):
                    yield first + 8 * position + bit


def _left(answer: list[Any], batch_id: str) -> int:
    match answer[0]:
        case b"gone":
            raise LedgerGone(batch_id)
        case b"lost":
            raise ClaimLost(batch_id)
        case b"other" | b"unsealed":
            raise OutOfStep(batch_id)
        case b"lacking":
            raise LinesLacking(batch_id)
    return int(answer[0])
