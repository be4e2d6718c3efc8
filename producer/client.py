"""The Python door: ``Producer`` submits batches and follows them.

Comes in: a configuration and what the user calls. Goes out: ``Batch`` handles, ``Progress``, files. Every method is the
function of the same name with the connections filled in; ``producer.bridge`` makes the sync face of the same methods.
Redis and the store are opened at first need and closed with the producer.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bucketline.batch import BatchOptions, Progress, State
from bucketline.errors import ConfigError
from bucketline.settings import Settings, load_settings
from bucketline.store import Store, open_store
from producer import control, download, watch
from producer.options import batch_options
from producer.source import Source

if TYPE_CHECKING:
    from arq.connections import ArqRedis

    from bucketline.ledger import Ledger

__all__ = ["Batch", "Producer"]


@dataclass(frozen=True, slots=True)
class Batch:
    """A submitted batch. Its methods are the producer's, with its id; they need the producer to be open."""

    id: str
    lines: int
    rejected: int  #: lines that cannot be sent; they are in ``errors.jsonl`` already
    producer: Producer

    async def status(self) -> Progress:
        return await self.producer.status(self)

    async def wait(self, *, timeout_s: float | None = None) -> Progress:
        return await self.producer.wait(self, timeout_s=timeout_s)

    async def results(self, folder: str | os.PathLike[str], *, merged: bool = False) -> dict[str, Any]:
        return await self.producer.results(self, folder, merged=merged)

    async def cancel(self) -> State:
        return await self.producer.cancel(self)

    def rows(self, *, failed: bool = False) -> AsyncIterator[dict[str, Any]]:
        return self.producer.rows(self, failed=failed)

    def __repr__(self) -> str:
        return f"Batch({self.id!r}, lines={self.lines}, rejected={self.rejected})"


class Producer:
    """One configuration's batches. Use it as ``async with Producer() as producer``."""

    def __init__(
        self,
        config: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        redis_url: str | None = None,
        store: str | None = None,
    ) -> None:
        """Read the configuration (``settings`` in its place, or the usual file); the two addresses beat it.

        Raises ConfigError.
        """
        chosen = settings or load_settings(None if config is None else os.fspath(config))
        given = {name: value for name, value in (("redis_url", redis_url), ("store", store)) if value is not None}
        self.settings = chosen.model_copy(update=given)
        self._redis: ArqRedis | None = None
        self._store: Store | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what was opened."""
        redis, store = self._redis, self._store
        self._redis = self._store = None
        if redis is not None:
            await redis.aclose()
        if store is not None:
            await store.close()

    @property
    def store(self) -> Store:
        """The store. Raises ConfigError where none is configured."""
        if self._store is None:
            if not self.settings.store:
                raise ConfigError("No store is configured; set store in bucketline.toml, or BUCKETLINE_STORE.")
            self._store = open_store(self.settings.store)
        return self._store

    async def redis(self) -> ArqRedis:
        """The connection. Raises ConfigError where none is configured, ServiceUnavailable where none answers."""
        if self._redis is None:
            from bucketline.connect import configured, connect_redis

            self._redis = await connect_redis(configured(self.settings.redis_url))
        return self._redis

    async def ledger(self) -> Ledger:
        from bucketline.ledger import Ledger

        return Ledger(await self.redis())

    async def submit(
        self,
        source: Source,
        /,
        *,
        strict: bool = False,
        duplicates: str = "refuse",
        check_keys: bool = True,
        idempotency_key: str | None = None,
        warn: Callable[[str], None] = lambda _: None,
        options: BatchOptions | None = None,
        **asked: Any,
    ) -> Batch:
        """Make a batch of a path, an ``s3://`` address, or an iterable or async iterable of dicts.

        ``asked`` are the fields of ``BatchOptions`` (model, max_usd, window_s, priority, metadata, …). ``strict``
        refuses the whole on one bad line, ``duplicates="number"`` renames repeated ids, ``idempotency_key`` gives the
        same batch again. Raises InputError, ConfigError, ServiceUnavailable.
        """
        from producer.intake import submit

        document = await submit(
            source,
            self.store,
            await self.redis(),
            self.settings,
            batch_options(options, asked),
            strict=strict,
            number_duplicates=duplicates == "number",
            check_keys=check_keys,
            idempotency_key=idempotency_key,
            warn=warn,
        )
        return Batch(document.id, document.lines, document.rejected, self)

    async def rerun(
        self,
        batch: Batch | str,
        *,
        only: str = "truncated,failed",
        set_: Mapping[str, Any] | None = None,
        unset: Sequence[str] = (),
        check_keys: bool = True,
        warn: Callable[[str], None] = lambda _: None,
        **asked: Any,
    ) -> Batch:
        """Run some lines of a finished batch once more as a new batch, with the same options but for ``asked``.

        ``only`` says which: truncated, failed, or error codes; ``set_`` and ``unset`` change their bodies.
        ``results(…, merged=True)`` of the new batch joins both. Raises as ``submit``, and NotFinished, BatchNotFound.
        """
        from producer.rerun import rerun

        document = await rerun(
            _id(batch),
            self.store,
            await self.redis(),
            self.settings,
            only=only,
            set_=set_ or {},
            unset=unset,
            asked=asked,
            check_keys=check_keys,
            warn=warn,
        )
        return Batch(document.id, document.lines, document.rejected, self)

    async def status(self, batch: Batch | str) -> Progress:
        """Where a batch stands. Raises BatchNotFound."""
        return await watch.progress_of(_id(batch), await self.ledger(), self.store)

    async def recent(self, limit: int = 50) -> list[Progress]:
        """The newest batches, newest first."""
        return await watch.recent(await self.ledger(), self.store, limit)

    async def wait(
        self, batch: Batch | str, *, timeout_s: float | None = None, show: Callable[[Progress], None] = lambda _: None
    ) -> Progress:
        """Wait for a batch's end. Raises NotFinished after ``timeout_s``, BatchNotFound."""
        return await watch.wait_for(_id(batch), await self.ledger(), self.store, timeout_s=timeout_s, show=show)

    async def results(
        self, batch: Batch | str, folder: str | os.PathLike[str], *, merged: bool = False
    ) -> dict[str, Any]:
        """Fetch the results into a folder or an ``s3://`` address; returns the manifest.

        ``merged`` joins a rerun with the batch it reran, and returns what ``merged.json`` says. Needs only the store.
        Raises NotFinished, BatchNotFound, DamagedResults, and UsageError where there is nothing to merge.
        """
        from producer.merged import copy_merged

        place = os.fspath(folder)
        to = open_store(place)
        try:
            if merged:
                return await copy_merged(_id(batch), self.store, to)
            return await download.copy_results(_id(batch), self.store, to)
        finally:
            await to.close()

    def rows(self, batch: Batch | str, *, failed: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The answered lines in input order, or with ``failed`` the others. Raises as ``results`` does."""
        return download.rows(_id(batch), self.store, failed=failed)

    async def cancel(self, batch: Batch | str, *, keep_in_flight: bool = False) -> State:
        """End a batch; answers that are there are kept. Returns the state it is in then."""
        return await control.cancel(_id(batch), await self.ledger(), self.store, keep_in_flight=keep_in_flight)

    async def pause(self, batch: Batch | str) -> None:
        """Send no new calls until ``resume``."""
        await control.pause(_id(batch), await self.ledger(), self.store)

    async def resume(self, batch: Batch | str) -> None:
        """Go on after ``pause``."""
        await control.resume(_id(batch), await self.ledger(), self.store)


def _id(batch: Batch | str) -> str:
    return batch if isinstance(batch, str) else batch.id
