"""A batch's first objects, written in an order that leaves no half batch.

Comes in: a source. Goes out: ``input.jsonl`` (streamed once through the scanner), ``rejects.jsonl`` for its bad lines, and
``batch.json`` last: before it nothing exists, after it everything can be rebuilt; the mark under ``unfinished/`` goes before
it, so that a batch that Redis forgets is found without listing them all. An input that is refused leaves
nothing. Called by ``intake``; it knows nothing of Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from bucketline.batch import BatchDocument
from bucketline.catalog import Catalog
from bucketline.failure import Code
from bucketline.layout import batch_document, input_object, rejects_object, unfinished_mark
from bucketline.outcome import Outcome, encode_outcome
from bucketline.settings import Settings
from bucketline.shard import Shard
from bucketline.store import NotFound, Store, StoreError, Writer
from producer.claims import Sign
from producer.judge import Judge, config_digest, verdict
from producer.renumber import renumbered
from producer.scan import LINE_CAP_BYTES, BadLine, Scanner
from producer.source import Source, open_source

__all__ = ["BatchWriter", "Handling"]

_SHOWN = 100  #: bad lines kept to be shown


@dataclass(frozen=True, slots=True)
class Handling:
    """How an input is taken, apart from what the batch is to do with it."""

    strict: bool = False  #: one bad line refuses the whole
    number_duplicates: bool = False
    source_name: str | None = None
    cap_bytes: int = LINE_CAP_BYTES
    rerun_of: str | None = None  #: the batch of which some lines are run again


class BatchWriter:
    """One input on its way into the store."""

    def __init__(
        self, store: Store, settings: Settings, judge: Judge, how: Handling, clock: Callable[[], float]
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
            on_line=judge.line,
        )
        self._shown: list[BadLine] = []

    @property
    def rejected(self) -> array[int]:
        return self._scanner.rejected

    @property
    def shards(self) -> list[Shard]:
        return self._scanner.shards

    async def write(self, batch_id: str, source: Source, sign: Sign) -> BatchDocument:
        """Store an input and its document. Raises InputError, and leaves nothing then."""
        try:
            name, written = await self._stream(batch_id, source)
            document = self._document(batch_id, name, written)
            sign.keep = True  # from here on the batch may exist
            await self._store.put(unfinished_mark(batch_id), b"")
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
            rerun_of=self._how.rerun_of,
        )

    async def _take_back(self, batch_id: str) -> None:
        """Remove what was written; the document first, so that no batch is ever without its input."""
        for key in (
            batch_document(batch_id), rejects_object(batch_id), input_object(batch_id), unfinished_mark(batch_id)
        ):  # fmt: skip
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
