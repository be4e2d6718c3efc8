"""The queue: tickets for shards, through arq.

Comes in: a batch whose document is in the store. Goes out: one arq job a shard, named by ``keys.shard_job_id``, and the
job that finishes a batch. The queue's score is a rank, not a time: a band for each priority, and inside it the next
free place for each shard of a batch, counted from the head of the line, so that batches interleave one shard each and
a small one does not wait behind a large one. Jobs travel as JSON, never as pickle: whoever can write to Redis must not
be able to run code here. This file and ``worker/service.py`` are the only ones that know arq.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import orjson
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.jobs import serialize_job
from redis.exceptions import OutOfMemoryError, ResponseError

from bucketline import keys
from bucketline.shard import Shard

__all__ = [
    "FINISH_JOB",
    "SHARD_JOB",
    "Ticket",
    "band_of",
    "decode_job",
    "encode_job",
    "enqueue_finish",
    "enqueue_shards",
    "mark_of",
    "not_queued",
    "release",
    "starts_of",
]

SHARD_JOB = "run_shard"
FINISH_JOB = "finish_batch"
_JOB_LIFE_MS = 30 * 24 * 3600 * 1000  #: a ticket outlives any sensible queue
_BAND = 10**9  #: places in one priority's band; all ranks stay below any clock's milliseconds
_FIRST = 0.5  #: before every band; arq takes a rank of zero for an absent job


class Ticket(NamedTuple):
    """What stands for one shard on the queue."""

    batch_id: str
    shard: int
    first_line: int
    offset_bytes: int
    size_bytes: int
    lines: int


def encode_job(job: dict[str, Any]) -> bytes:
    """arq's job as JSON; what cannot be spelled (an exception as a result) becomes its class name."""
    return orjson.dumps(job, default=lambda value: type(value).__name__)


def decode_job(raw: bytes) -> dict[str, Any]:
    job: dict[str, Any] = orjson.loads(raw)
    return job


def band_of(priority: int) -> int:
    """The first rank of a priority's band; 9 goes before 0."""
    return (9 - priority) * _BAND


def mark_of(job_id: str) -> str:
    """arq's key that says a job is running: the lease of a shard."""
    return in_progress_key_prefix + job_id


def starts_of(job_id: str) -> str:
    """arq's key that counts a job's starts; there is none before the first and after the end."""
    return retry_key_prefix + job_id


async def enqueue_shards(
    redis: ArqRedis, batch_id: str, shards: Iterable[Shard], priority: int, *, block: int = 500
) -> int:
    """Queue tickets for shards; those queued already stay where they are. Returns how many were offered."""
    place = await _head(redis, priority)
    count = 0
    pending: list[tuple[str, bytes, float]] = []
    for shard in shards:
        ticket = Ticket(batch_id, shard.number, shard.first_line, shard.offset_bytes, shard.size_bytes, shard.lines)
        pending.append((keys.shard_job_id(batch_id, shard.number), _job(SHARD_JOB, ticket), place + count))
        count += 1
        if len(pending) >= block:
            await _offer(redis, pending)
            pending.clear()
    await _offer(redis, pending)
    await _ring(redis)
    return count


async def release(redis: ArqRedis, batch_id: str, shards: int) -> None:
    """Drop the leases of a batch's shards, where it is known that nobody works on them."""
    await redis.unlink(*(mark_of(keys.shard_job_id(batch_id, number)) for number in range(shards)))


async def not_queued(redis: ArqRedis, batch_id: str, shards: Sequence[int], *, block: int = 500) -> list[int]:
    """Those of a batch's shards for which no ticket is on the queue, waiting or running."""
    lost: list[int] = []
    for at in range(0, len(shards), block):
        some = shards[at : at + block]
        places = await redis.zmscore(keys.QUEUE, [keys.shard_job_id(batch_id, shard) for shard in some])
        lost += [shard for shard, place in zip(some, places, strict=True) if place is None]
    return lost


async def enqueue_finish(redis: ArqRedis, batch_id: str) -> None:
    """Queue the merge of a batch, before all shards that wait."""
    await _offer(redis, [(keys.finish_job_id(batch_id), _job(FINISH_JOB, (batch_id,)), _FIRST)])
    await _ring(redis)


def taker(redis: ArqRedis) -> Callable[[Sequence[str], float], Awaitable[dict[str, float]]]:
    """How jobs are taken up, all in one command: job ids and the life of their marks in seconds → rank of each taken job.

    What another process runs, or has ended meanwhile, is left out; so are all where Redis takes no more. arq's own way
    asks six commands for each job.
    """
    script = redis.register_script(files("bucketline").joinpath("queue_take.lua").read_text(encoding="utf-8"))

    async def take(job_ids: Sequence[str], life_s: float) -> dict[str, float]:
        if not job_ids:
            return {}
        names = [keys.QUEUE, *(mark_of(job_id) for job_id in job_ids)]
        try:
            ranks = await script(keys=names, args=[int(life_s * 1000), *job_ids])
        except OutOfMemoryError:
            return {}
        return {job_id: float(rank) for job_id, rank in zip(job_ids, ranks, strict=True) if rank}

    return take


async def _ring(redis: ArqRedis) -> None:
    """Tell idle workers; where this user may not, they see the tickets a little later."""
    with contextlib.suppress(ResponseError):
        await redis.publish(keys.BELL, b"")


async def _offer(redis: ArqRedis, jobs: Sequence[tuple[str, bytes, float]]) -> None:
    """Write jobs and their places; neither is touched where it exists, so offering twice is harmless."""
    if not jobs:
        return
    pipe = redis.pipeline(transaction=True)
    for job_id, job, _ in jobs:
        pipe.set(job_key_prefix + job_id, job, px=_JOB_LIFE_MS, nx=True)
    pipe.zadd(keys.QUEUE, {job_id: rank for job_id, _, rank in jobs}, nx=True)
    await pipe.execute()


async def _head(redis: ArqRedis, priority: int) -> float:
    """The rank of the first ticket of a priority that still waits or runs; the band's start when there is none."""
    low = band_of(priority) + 1
    found = await redis.zrange(keys.QUEUE, low, low + _BAND - 2, byscore=True, offset=0, num=1, withscores=True)
    return float(found[0][1]) if found else low


def _job(function: str, args: Sequence[Any]) -> bytes:
    raw = serialize_job(function, tuple(args), {}, None, int(time.time() * 1000), serializer=encode_job)
    assert raw is not None
    return raw
