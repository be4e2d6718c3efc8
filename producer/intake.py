"""Submit: an input becomes a batch.

Comes in: a source, the store, Redis and the options. Goes out: the batch's document. What is written lies in the store
before any work is queued, so a producer may die at any moment: before ``batch.json`` nothing exists, after it the sweep
does the rest. Called by every door; it sends nothing to a provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline.batch import BatchDocument, BatchOptions, new_batch_id
from bucketline.documents import read_document
from bucketline.errors import ServiceUnavailable
from bucketline.ledger import Ledger
from bucketline.queue import enqueue_shards
from bucketline.settings import Settings
from bucketline.store import NotFound, Store
from producer.batch_writer import BatchWriter, Handling
from producer.claims import Claims, Sign, signs_of_life, source_digest
from producer.judge import Judge
from producer.source import Source

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["make_batch", "submit"]

_LOOK_S = 0.2  #: how often another producer's batch is looked for


async def submit(
    source: Source,
    store: Store,
    redis: ArqRedis,
    settings: Settings,
    options: BatchOptions | None = None,
    *,
    strict: bool = False,
    number_duplicates: bool = False,
    check_keys: bool = True,
    idempotency_key: str | None = None,
    source_name: str | None = None,
    rerun_of: str | None = None,
    env: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
    warn: Callable[[str], None] = lambda _: None,
) -> BatchDocument:
    """Make a batch of an input and queue its work; the same ``idempotency_key`` gives the same batch again.

    ``warn`` is told in a sentence of what is odd but no reason to refuse. Raises InputError (the input), ConfigError
    (a key variable, a price, the configuration) and ServiceUnavailable (Redis, the store); in each case nothing of the
    input stays, unless the text says that the batch is stored.
    """
    judge = Judge(settings, options or BatchOptions(), env, warn, check_keys=check_keys)
    how = Handling(strict, number_duplicates, source_name, rerun_of=rerun_of)
    writer = BatchWriter(store, settings, judge, how, clock)
    batch_id = new_batch_id()
    try:
        async with signs_of_life(redis, batch_id) as sign:
            if idempotency_key is None:
                return await make_batch(batch_id, source, writer, redis, sign)
            claims = Claims(redis, store)
            digest = source_digest("idempotency", idempotency_key)
            other = await _claimed(claims, digest, batch_id, store)
            if other is not None:
                return other
            try:
                return await make_batch(batch_id, source, writer, redis, sign)
            except BaseException:
                if not sign.keep:
                    await claims.release(digest, batch_id)
                raise
    except RedisError as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ServiceUnavailable(f"Redis cannot be used ({reason}); nothing was submitted.") from None


async def make_batch(batch_id: str, source: Source, writer: BatchWriter, redis: ArqRedis, sign: Sign) -> BatchDocument:
    """Write a batch and queue its work. Raises as ``submit`` does; the caller shows ``sign``."""
    document = await writer.write(batch_id, source, sign)
    try:
        await Ledger(redis).register(document, recorded=writer.rejected)
        await enqueue_shards(redis, batch_id, writer.shards, document.options.priority)
    except (RedisError, OSError):
        raise ServiceUnavailable(
            f"{batch_id} is stored, but Redis went away before its work was queued; "
            "a worker takes it up when Redis is back."
        ) from None
    sign.keep = False
    return document


async def _claimed(claims: Claims, digest: str, batch_id: str, store: Store) -> BatchDocument | None:
    """None when the claim is ours; else the batch that another producer made, or is making, of the same source."""
    while True:
        holder = await claims.take(digest, batch_id)
        if holder is None:
            return None
        with contextlib.suppress(NotFound):
            return await read_document(store, holder)
        await asyncio.sleep(_LOOK_S)
