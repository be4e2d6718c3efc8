"""Submit: an input becomes a batch.

Comes in: a source, the store, Redis and the options. Goes out: the batch's document. The input streams once through
the scanner into ``input.jsonl``; its bad lines become ``rejects.jsonl``; ``batch.json`` is written last, and only then is
work queued. So a producer that dies leaves no half batch: before the document nothing exists, after it the sweep does
the rest. A refused input leaves nothing. Called by every door; it sends nothing to a provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from array import array
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from bucketline.batch import BatchDocument, BatchOptions, new_batch_id
from bucketline.catalog import Catalog
from bucketline.errors import ServiceUnavailable
from bucketline.failure import Code
from bucketline.layout import batch_document, input_object, rejects_object
from bucketline.ledger import Ledger
from bucketline.outcome import Outcome, encode_outcome
from bucketline.queue import enqueue_shards
from bucketline.settings import Settings
from bucketline.shard import Shard
from bucketline.store import NotFound, Store, StoreError, Writer
from producer.claims import Claims, Sign, signs_of_life, source_digest
from producer.judge import Judge, config_digest, verdict
from producer.renumber import renumbered
from producer.scan import LINE_CAP_BYTES, BadLine, Scanner
from producer.source import Source, open_source

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["Handling", "submit"]

_LOOK_S = 0.2  #: how often another producer's batch is looked for
_SHOWN = 100  #: bad lines kept to be shown


@dataclass(frozen=True, slots=True)
class Handling:
    """How an input is taken, apart from what the batch is to do with it."""

    strict: bool = False  #: one bad line refuses the whole
    number_duplicates: bool = False
    check_keys: bool = True  #: a key variable that is not set here refuses the whole
    source_name: str | None = None
    cap_bytes: int = LINE_CAP_BYTES


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
    env: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
    warn: Callable[[str], None] = lambda _: None,
) -> BatchDocument:
    """Make a batch of an input and queue its work; the same ``idempotency_key`` gives the same batch again.

    ``warn`` is told in a sentence of what is odd but no reason to refuse. Raises InputError (the input), ConfigError
    (a key variable, a price, the configuration) and ServiceUnavailable (Redis, the store); in each case nothing of the
    input stays, unless the text says that the batch is stored.
    """
    how = Handling(strict, number_duplicates, check_keys, source_name)
    judge = Judge(settings, options or BatchOptions(), env, warn, check_keys=check_keys)
    intake = _Intake(store, settings, how, judge, clock)
    try:
        batch_id = new_batch_id()
        async with signs_of_life(redis, batch_id, clock) as sign:
            if idempotency_key is None:
                return await _make(batch_id, source, intake, redis, sign)
            claims = Claims(redis, store, clock)
            digest = source_digest("idempotency", idempotency_key)
            holder = await claims.take(digest, batch_id)
            if holder is not None:
                return await _of_another(holder, store)
            try:
                return await _make(batch_id, source, intake, redis, sign)
            except BaseException:
                if not sign.keep:
                    await claims.release(digest, batch_id)
                raise
    except (RedisError, OSError) as error:
        raise _redis_away(error) from None


async def _make(batch_id: str, source: Source, intake: _Intake, redis: ArqRedis, sign: Sign) -> BatchDocument:
    document = await intake.take(batch_id, source, sign)
    try:
        await Ledger(redis).register(document, recorded=intake.rejected)
        await enqueue_shards(redis, batch_id, intake.shards, document.options.priority)
    except (RedisError, OSError):
        raise ServiceUnavailable(
            f"{batch_id} is stored, but Redis went away before its work was queued; "
            "a worker takes it up when Redis is back."
        ) from None
    sign.keep = False
    return document


async def _of_another(batch_id: str, store: Store) -> BatchDocument:
    """The document of a batch that another producer makes of the same source; waits while it is being written."""
    async with asyncio.timeout(3600):
        while True:
            with contextlib.suppress(NotFound):
                return BatchDocument.model_validate_json(await store.get(batch_document(batch_id)))
            await asyncio.sleep(_LOOK_S)


def _redis_away(error: Exception) -> ServiceUnavailable:
    reason = str(error).rstrip(".") or type(error).__name__
    return ServiceUnavailable(f"Redis cannot be used ({reason}); nothing was submitted.")


class _Intake:
    """One input on its way into the store."""

    def __init__(
        self, store: Store, settings: Settings, how: Handling, judge: Judge, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._options = judge.options
        self._how = how
        self._clock = clock
        self._config = config_digest(settings)
        self._scanner = Scanner(
            Catalog(settings),
            model=judge.options.model,
            force_model=judge.options.force_model,
            cap_bytes=how.cap_bytes,
            on_plan=judge.plan,
        )
        self._shown: list[BadLine] = []

    @property
    def rejected(self) -> array[int]:
        return self._scanner.rejected

    @property
    def shards(self) -> list[Shard]:
        return self._scanner.shards

    async def take(self, batch_id: str, source: Source, sign: Sign) -> BatchDocument:
        """Store an input and its document. Raises InputError, and leaves nothing then."""
        try:
            name, written = await self._stream(batch_id, source)
            document = self._document(batch_id, name, written)
            sign.keep = True  # from here on the batch may exist
            await self._store.put(batch_document(batch_id), document.model_dump_json().encode())
        except BaseException:
            await asyncio.shield(self._take_back(batch_id))
            sign.keep = False
            raise
        return document

    async def _stream(self, batch_id: str, source: Source) -> tuple[str, Writer]:
        scanner = self._scanner
        async with contextlib.AsyncExitStack() as stack:
            stream = await stack.enter_async_context(open_source(source, self._store))
            rejects = _Rejects(batch_id, self._store, stack)
            written = await stack.enter_async_context(self._store.writer(input_object(batch_id)))
            async for block in self._blocks(stream.blocks):
                await self._reject(scanner.feed(block), rejects)
                await written.write(block)
            await self._reject(scanner.finish(), rejects)
            verdict(stream.name, scanner, self._shown, strict=self._how.strict)
            return self._how.source_name or stream.name, written
        raise AssertionError  # the stack swallows nothing

    def _blocks(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return renumbered(blocks, self._how.cap_bytes) if self._how.number_duplicates else blocks

    async def _reject(self, bad: list[BadLine], rejects: _Rejects) -> None:
        if bad:
            self._shown += bad[: _SHOWN - len(self._shown)]
            await rejects.write(bad)

    def _document(self, batch_id: str, name: str, written: Writer) -> BatchDocument:
        scanner = self._scanner
        return BatchDocument(
            id=batch_id,
            source=name,
            created_s=self._clock(),
            options=self._options,
            lines=scanner.lines,
            rejected=len(scanner.rejected),
            last_line=scanner.last_line,
            input_bytes=written.size_bytes,
            input_sha256=written.sha256,
            shards=[(s.first_line, s.offset_bytes, s.size_bytes, s.lines) for s in scanner.shards],
            config_digest=self._config,
        )

    async def _take_back(self, batch_id: str) -> None:
        """Remove what was written; the document first, so that no batch is ever without its input."""
        for key in (batch_document(batch_id), rejects_object(batch_id), input_object(batch_id)):
            with contextlib.suppress(NotFound, StoreError):
                await self._store.delete(key)


class _Rejects:
    """``rejects.jsonl``, begun with the first bad line."""

    def __init__(self, batch_id: str, store: Store, stack: contextlib.AsyncExitStack) -> None:
        self._batch_id = batch_id
        self._store = store
        self._stack = stack
        self._writer: Writer | None = None

    async def write(self, bad: list[BadLine]) -> None:
        if self._writer is None:
            self._writer = await self._stack.enter_async_context(self._store.writer(rejects_object(self._batch_id)))
        lines = [encode_outcome(self._batch_id, _outcome(one)) for one in bad]
        await self._writer.write(b"\n".join([*lines, b""]))


def _outcome(bad: BadLine) -> Outcome:
    return Outcome(
        line=bad.line,
        custom_id=bad.custom_id,
        requested_model="",
        code=Code.INVALID_INPUT,
        message=bad.message,
        attempts=(),
    )
