"""The outbox: what those see of their batches who see only the bucket.

Comes in: which inbox object became which batch. Goes out: ``outbox/NAME/status.json``, every few seconds while the batch
runs; at its end copies of the results, then of ``manifest.json``, then the last status; ``rejected.json`` for a file that is
no batch. One watcher of the fleet publishes at a time. When a newer upload of the same name is taken up, nothing more is
told of the older one; its results stay under ``batches/``. Called by ``inbox``; it decides nothing about a batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from redis.exceptions import RedisError

from bucketline import keys
from bucketline.batch import TERMINAL, Progress, iso_time
from bucketline.errors import BatchNotFound, BucketlineError, ConfigError
from bucketline.layout import OUTBOX, errors_object, manifest_object, manifest_page, outbox_object, output_object
from bucketline.ledger import Ledger
from bucketline.splice import dumps, loads
from bucketline.store import NotFound, Store
from producer.judge import Refused
from producer.watch import progress_of
from producer.webhooks import Webhooks

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Outbox", "Upload"]

_log = structlog.get_logger(__name__)
_LEASE_MS = 15_000
_LOST_S = 120.0  #: an upload whose batch has not come to be by then will not
_COPIES = 4  #: results copied at once
_LOOKS = 16  #: batches looked at at once
_NEWS = 200  #: statuses written in one round; results must not wait for thousands of them
_RESULTS = (("output.jsonl", output_object), ("errors.jsonl", errors_object), ("manifest.md", manifest_page))


@dataclass(frozen=True, slots=True)
class Upload:
    """A version of an inbox object, and the batch that it becomes."""

    batch_id: str
    key: str
    etag: str
    name: str  #: the folder under ``outbox/``
    taken_s: float


class Outbox:
    """All that this process writes under ``outbox/``."""

    def __init__(
        self,
        store: Store,
        redis: Redis,
        *,
        every_s: float,
        webhooks: Webhooks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._redis = redis
        self._ledger = Ledger(redis)
        script = files("producer").joinpath("outbox_forget.lua").read_text(encoding="utf-8")
        self._forget = redis.register_script(script)
        self._every_s = every_s
        self._webhooks = webhooks
        self._clock = clock
        self._own = uuid.uuid4().hex
        self._leads = False
        self._recalled = False
        self._shown: dict[str, bytes] = {}
        self._copies: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_COPIES)
        self._looks = asyncio.Semaphore(_LOOKS)

    async def status_of(self, name: str) -> dict[str, Any] | None:
        """The last status under a name; None when there is none that can be read."""
        try:
            document = orjson.loads(await self._store.get(outbox_object(name, "status.json")))
        except (NotFound, orjson.JSONDecodeError):
            return None
        return document if isinstance(document, dict) else None

    async def begin(self, upload: Upload, *, anew: bool) -> None:
        """Say that an upload was seen; ``anew``: what an earlier one left under the name goes first."""
        if anew:
            for file in ("manifest.json", "rejected.json", "manifest.md", "output.jsonl", "errors.jsonl"):
                await self._store.delete(outbox_object(upload.name, file))
        await self._redis.hset(keys.INBOX, upload.name, dumps(asdict(upload)).decode())  # type: ignore[misc]
        await self._put_status(upload, {"id": upload.batch_id, "source": upload.key, "status": "validating"})

    async def reject(self, upload: Upload, error: BucketlineError) -> None:
        """Say why an upload is no batch."""
        bad_lines = error.bad_lines if isinstance(error, Refused) else ()
        faults: list[dict[str, Any]] = [
            {"line": bad.line, "byte": bad.offset_bytes, "custom_id": bad.custom_id, "message": bad.message}
            for bad in bad_lines
        ] or [{"message": fault} for fault in getattr(error, "faults", ())]
        said = {"source": upload.key, "etag": upload.etag, "rejected_at": iso_time(self._clock()), "reason": str(error)}
        await self._store.put(outbox_object(upload.name, "rejected.json"), dumps({**said, "faults": faults}))
        status = {"source": upload.key, "status": "rejected", "reason": str(error)}
        await self._put_status(upload, status)
        if self._webhooks is not None and not isinstance(error, ConfigError):  # which an operator is about to mend
            await self._webhooks.add(upload.batch_id, "batch.rejected", {"name": upload.name, **status})
        await self.forget(upload)

    async def forget(self, upload: Upload) -> None:
        """Publish no more about an upload; a newer one of its name stays."""
        self._shown.pop(upload.batch_id, None)
        await self._forget(keys=[keys.INBOX], args=[upload.name, dumps(asdict(upload))])

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until told to stop, whenever no other watcher does."""
        renewing = asyncio.create_task(self._renew(), name="outbox-lease")
        while not stop.is_set():
            try:
                if await self._lead():
                    if not self._recalled:
                        await self.recall()
                        self._recalled = True
                    await self.publish()
            except (RedisError, OSError, BucketlineError) as error:
                _log.warning("outbox_put_off", reason=str(error) or type(error).__name__)
            except Exception as error:  # whoever leads must not fall silent
                _log.error("outbox_broke", error=type(error).__name__, exc_info=True)
            try:
                async with asyncio.timeout(self._every_s):
                    await stop.wait()
            except TimeoutError:
                continue
        renewing.cancel()
        await self.close()

    async def close(self) -> None:
        """End copies under way (the next publisher makes them anew) and let another watcher publish at once."""
        for task in self._copies.values():
            task.cancel()
        await asyncio.gather(*self._copies.values(), return_exceptions=True)
        if self._webhooks is not None:
            await self._webhooks.close()
        if self._leads:
            self._leads = False
            await self._redis.delete(keys.INBOX_PUBLISHER)

    async def publish(self, *, wait: bool = False) -> None:
        """Bring every upload's folder up to date; with ``wait`` also the copies that this begins."""
        raw: dict[bytes, bytes] = await self._redis.hgetall(keys.INBOX)  # type: ignore[misc]
        uploads = [upload for item in raw.values() if (upload := Upload(**loads(item))).batch_id not in self._copies]
        ids = [upload.batch_id for upload in uploads]
        signs = await self._redis.zmscore(keys.SUBMITTING, ids) if ids else []
        news: list[tuple[Upload, Progress | None]] = []
        for upload, sign, known in zip(uploads, signs, await self._ledger.progress_of_many(ids), strict=True):
            if known and known.state in TERMINAL:
                self._begin_copies(upload, known)
            # one still being taken up is nowhere yet, and asking the store for it would cost two requests a round
            elif self._is_news(known) if known else not sign:
                news.append((upload, known))
        random.shuffle(news)  # what does not fit into this round has the same chance in the next
        await asyncio.gather(*(self._follow(*each) for each in (news if wait else news[:_NEWS])))
        if wait:
            await asyncio.gather(*self._copies.values())
        if self._webhooks is not None:
            await self._webhooks.tell(wait=wait)

    async def _lead(self) -> bool:
        """Whether this watcher is the one that publishes; whoever begins to looks for what was forgotten."""
        if await self._redis.set(keys.INBOX_PUBLISHER, self._own, nx=True, px=_LEASE_MS):
            self._leads, self._recalled = True, False
        else:
            await self._stay()
        return self._leads

    async def _stay(self) -> None:
        holder = await self._redis.get(keys.INBOX_PUBLISHER)
        self._leads = holder == self._own.encode() and bool(await self._redis.pexpire(keys.INBOX_PUBLISHER, _LEASE_MS))

    async def _renew(self) -> None:
        """Stay the one that publishes while a round lasts longer than the lease."""
        while True:
            await asyncio.sleep(_LEASE_MS / 3000)
            if self._leads:
                with contextlib.suppress(RedisError, OSError):
                    await self._stay()

    async def recall(self) -> None:
        """Find uploads under way that Redis does not know: a status without a manifest or a rejection."""
        begun: set[str] = set()
        over: set[str] = set()
        async for stat in self._store.list(OUTBOX):
            name, _, file = stat.key.removeprefix(OUTBOX).rpartition("/")
            if file == "status.json":
                begun.add(name)
            elif file in {"manifest.json", "rejected.json"}:
                over.add(name)
        for name in sorted(begun - over):
            said = await self.status_of(name)
            if said and isinstance(said.get("id"), str) and "etag" in said:
                upload = Upload(said["id"], said["source"], said["etag"], name, said.get("taken_s", 0.0))
                await self._redis.hsetnx(keys.INBOX, name, dumps(asdict(upload)).decode())  # type: ignore[misc]

    async def _follow(self, upload: Upload, known: Progress | None) -> None:
        """Publish what is new of one upload; what goes wrong with it stops no other."""
        async with self._looks:
            try:
                progress = known or await progress_of(upload.batch_id, None, self._store)
                if progress.state in TERMINAL:
                    self._begin_copies(upload, progress)
                elif self._is_news(progress):
                    await self._show(upload, progress)
            except BatchNotFound:
                if self._clock() - upload.taken_s > _LOST_S:
                    await self.forget(upload)
            except (RedisError, OSError, BucketlineError) as error:
                _log.warning("status_put_off", source=upload.key, reason=str(error) or type(error).__name__)
            except Exception as error:
                _log.error("status_broke", source=upload.key, error=type(error).__name__, exc_info=True)

    def _is_news(self, progress: Progress) -> bool:
        """Most of thousands of batches wait: nothing is to be done for them."""
        return self._shown.get(progress.id) != dumps(progress.document())

    async def _show(self, upload: Upload, progress: Progress) -> None:
        document = progress.document()
        await self._put_status(upload, document)
        self._shown[upload.batch_id] = dumps(document)

    def _begin_copies(self, upload: Upload, progress: Progress) -> None:
        task = asyncio.create_task(self._hand_over(upload, progress), name=f"results {upload.batch_id}")
        self._copies[upload.batch_id] = task
        task.add_done_callback(lambda _: self._copies.pop(upload.batch_id, None))

    async def _hand_over(self, upload: Upload, progress: Progress) -> None:
        """Copy the results, and say so last; what does not succeed is begun anew in the next round."""
        async with self._room:
            try:
                if not await self._copy_all(upload):
                    return
                await self._put_status(upload, progress.document())
                if self._webhooks is not None:
                    said = {"name": upload.name, **progress.document()}
                    await self._webhooks.add(upload.batch_id, f"batch.{progress.state.value}", said)
                await self.forget(upload)
                _log.info("results_in_outbox", batch=upload.batch_id, source=upload.key)
            except (RedisError, OSError, BucketlineError) as error:
                _log.warning("results_put_off", batch=upload.batch_id, reason=str(error) or type(error).__name__)
            except Exception as error:
                _log.error("results_broke", batch=upload.batch_id, error=type(error).__name__, exc_info=True)

    async def _copy_all(self, upload: Upload) -> bool:
        """The results, then the manifest, which says that they are there; false where it is not the time for it."""
        if not await self._is_newest(upload):
            return False
        await asyncio.gather(*(self._copy(upload, file, source) for file, source in _RESULTS))
        # a newer upload of the name may have come meanwhile; a final state may be there before its manifest
        return await self._is_newest(upload) and await self._copy(upload, "manifest.json", manifest_object)

    async def _copy(self, upload: Upload, file: str, source: Callable[[str], str]) -> bool:
        """Whether there is such a result."""
        try:
            await self._store.copy(source(upload.batch_id), outbox_object(upload.name, file))
        except NotFound:
            return False
        return True

    async def _is_newest(self, upload: Upload) -> bool:
        held: bytes | None = await self._redis.hget(keys.INBOX, upload.name)  # type: ignore[misc]
        return held is not None and Upload(**loads(held)).batch_id == upload.batch_id

    async def _put_status(self, upload: Upload, document: dict[str, Any]) -> None:
        said = {**document, "etag": upload.etag, "taken_s": upload.taken_s, "updated_at": iso_time(self._clock())}
        await self._store.put(outbox_object(upload.name, "status.json"), dumps(said))
