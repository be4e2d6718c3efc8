"""The bucket door: objects put under ``inbox/`` become batches.

Comes in: listings of the inbox, every few seconds. Goes out: one batch for each version (key and ETag) of each object that
has been still for a moment, taken by one watcher of the fleet; what the uploader is told is ``outbox``'s. Objects are
never deleted or moved: the uploader's access may not allow it and a name that vanishes looks like a loss; claims in
Redis remember what was taken, and where Redis was emptied the status in the outbox does. Run by ``bucketline inbox`` and
by workers with ``--inbox``. It submits as every door does.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from bucketline.batch import new_batch_id
from bucketline.errors import BucketlineError, ConfigError, ServiceUnavailable, UsageError
from bucketline.layout import INBOX
from bucketline.settings import Settings
from bucketline.store import NotFound, Stat, Store, StoreError
from producer.batch_writer import BatchWriter
from producer.claims import REFUSED, Claims, Sign, signs_of_life, source_digest
from producer.inbox_names import Stillness, full_name_of, is_upload, name_of, options_key
from producer.inbox_options import upload_options
from producer.intake import make_batch
from producer.judge import Judge
from producer.notices import Notices
from producer.outbox import Outbox, Upload
from producer.source import Replaced, StoredInput
from producer.webhooks import webhooks_of

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["Inbox", "run_inbox"]

_log = structlog.get_logger(__name__)
_AGAIN_S = 60.0  #: an object that met a fault of ours or of the operator's is tried again after this
_LAST_WORD_S = 10.0  #: how long objects being taken up may go on when told to stop


async def run_inbox(store: Store, redis: ArqRedis, settings: Settings, stop: asyncio.Event) -> None:
    """Watch the inbox and fill the outbox until ``stop`` is set; outages of Redis and the store are waited out."""
    webhooks = webhooks_of(redis, settings.webhook, os.environ)
    outbox = Outbox(store, redis, every_s=settings.inbox.status_s, webhooks=webhooks)
    inbox = Inbox(store, redis, settings, outbox)
    beside = [asyncio.create_task(outbox.run(stop), name="outbox")]
    if settings.inbox.sqs_url:
        notices = Notices(settings.inbox.sqs_url)
        beside.append(asyncio.create_task(notices.run(inbox.nudge.set, stop), name="notices"))
    try:
        await inbox.run(stop)
    finally:
        await inbox.close()
        await asyncio.gather(*beside, return_exceptions=True)


class Inbox:
    """One watcher."""

    def __init__(
        self,
        store: Store,
        redis: ArqRedis,
        settings: Settings,
        outbox: Outbox,
        *,
        env: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._redis = redis
        self._settings = settings
        self._outbox = outbox
        self._env = env
        self._clock = clock
        self._monotonic = monotonic
        self._claims = Claims(redis, store)
        self._still = Stillness(settings.inbox.settle_s)
        self.nudge = asyncio.Event()  #: set to have the inbox looked at now
        self._known: set[str] = set()  #: digests of versions that need no further look
        self._again_s: dict[str, float] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(settings.inbox.takes)

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.is_set():
            wait_s = self._settings.inbox.poll_s
            try:
                await self.look()
            except (RedisError, OSError, BucketlineError) as error:
                _log.warning("inbox_put_off", reason=str(error) or type(error).__name__)
            else:
                if self._still.due_s is not None:
                    wait_s = max(0.05, min(wait_s, self._still.due_s - self._monotonic()))
            await self._pause(wait_s, stop)

    async def _pause(self, wait_s: float, stop: asyncio.Event) -> None:
        """Until the time is up, somebody nudges, or it is time to stop."""
        waits = {asyncio.create_task(self.nudge.wait()), asyncio.create_task(stop.wait())}
        await asyncio.wait(waits, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self.nudge.clear()

    async def once(self) -> None:
        """Take up all that is there and return when it is done. Raises the errors of Redis and the store."""
        while True:
            await self.look()
            if self._taking:
                await asyncio.gather(*self._taking.values())
            elif self._still.due_s is None:
                return
            else:
                await asyncio.sleep(max(0.0, self._still.due_s - self._monotonic()))

    async def close(self) -> None:
        """Let what is being taken up come to its end, briefly; what does not is taken back and found again."""
        if self._taking:
            await asyncio.wait(self._taking.values(), timeout=_LAST_WORD_S)
        for task in self._taking.values():
            task.cancel()
        await asyncio.gather(*self._taking.values(), return_exceptions=True)

    async def look(self) -> None:
        """One listing; a task for each object that is whole and nobody's yet."""
        listed = [stat async for stat in self._store.list(INBOX) if is_upload(stat.key)]
        digests = {stat.key: source_digest("inbox", stat.key, stat.etag) for stat in listed}
        self._known.intersection_update(digests.values())
        fresh = [stat for stat in listed if digests[stat.key] not in self._known and stat.key not in self._taking]
        holders = await self._claims.holders([digests[stat.key] for stat in fresh])
        open_ = []
        for stat, holder in zip(fresh, holders, strict=True):
            if holder == _refusal(stat) or (holder is not None and await self._claims.is_batch(holder)):
                self._known.add(digests[stat.key])
            else:
                open_.append(stat)
        now_s = self._monotonic()
        self._again_s = {key: due_s for key, due_s in self._again_s.items() if due_s > now_s}
        whole = self._still.look(open_, now_s, self._clock())
        random.shuffle(whole)  # several watchers begin at different ends
        for stat in whole:
            if stat.key not in self._again_s:
                self._begin(stat, digests[stat.key])

    def _begin(self, stat: Stat, digest: str) -> None:
        task = asyncio.create_task(self._take(stat, digest), name=f"take {stat.key}")
        self._taking[stat.key] = task
        task.add_done_callback(lambda _: self._taking.pop(stat.key, None))

    async def _take(self, stat: Stat, digest: str) -> None:
        """Take up one object; whatever goes wrong with it stops no other."""
        async with self._room:
            try:
                batch_id = new_batch_id()
                async with signs_of_life(self._redis, batch_id) as sign:
                    if await self._claims.take(digest, batch_id, over=_refusal_of_before(stat)) is None:
                        await self._claimed(stat, digest, batch_id, sign)
            except Replaced as error:
                _log.info("take_put_off", source=stat.key, reason=str(error))
            except (RedisError, OSError, BucketlineError) as error:
                self._again_s[stat.key] = self._monotonic() + self._settings.inbox.poll_s
                _log.warning("take_put_off", source=stat.key, reason=str(error) or type(error).__name__)
            except Exception as error:
                self._again_s[stat.key] = self._monotonic() + _AGAIN_S
                _log.error("take_broke", source=stat.key, error=type(error).__name__, exc_info=True)

    async def _claimed(self, stat: Stat, digest: str, batch_id: str, sign: Sign) -> None:
        try:
            upload, before = await self._upload(stat, batch_id)
            if before is not None and await self._claims.is_batch(before):
                await self._claims.hand_over(digest, batch_id, before)
                return
            await self._submit(upload, stat, digest, sign)
        except BaseException:
            if not sign.keep:
                await asyncio.shield(self._give_back(digest, batch_id))
            raise

    async def _upload(self, stat: Stat, batch_id: str) -> tuple[Upload, str | None]:
        """The upload, and the batch that this very version became before where Redis has forgotten it.

        Two objects whose names differ only behind ``.jsonl`` do not share a folder: the later one's is its full name.
        """
        name = name_of(stat.key)
        said = await self._outbox.status_of(name)
        if said is not None and said.get("source") != stat.key:
            name = full_name_of(stat.key)
            said = await self._outbox.status_of(name)
        upload = Upload(batch_id, stat.key, stat.etag, name, self._clock())
        before = said.get("id") if said is not None and said.get("etag") == stat.etag else None
        if before is None:
            await self._outbox.begin(upload, anew=said is not None)
        return upload, before

    async def _submit(self, upload: Upload, stat: Stat, digest: str, sign: Sign) -> None:
        try:
            options, how = upload_options(stat.key, self._settings, await self._metadata(stat), await self._toml(stat))
            judge = Judge(self._settings, options, self._env, _log.warning, check_keys=True)
            writer = BatchWriter(self._store, self._settings, judge, how, self._clock)
            document = await make_batch(upload.batch_id, StoredInput(stat.key, stat.etag), writer, self._redis, sign)
            _log.info("inbox_taken", batch=upload.batch_id, source=stat.key, lines=document.lines)
        except (ServiceUnavailable, StoreError, Replaced):
            await self._outbox.forget(upload)
            raise
        except ConfigError as error:
            # the operator's to mend: the uploader is told, and the object is tried again
            await self._outbox.reject(upload, error)
            await self._claims.release(digest, upload.batch_id)
            self._again_s[stat.key] = self._monotonic() + _AGAIN_S
        except UsageError as error:
            await self._outbox.reject(upload, error)
            await self._claims.hand_over(digest, upload.batch_id, _refusal(stat))
            _log.info("inbox_rejected", source=stat.key, reason=str(error))

    async def _metadata(self, stat: Stat) -> Mapping[str, str]:
        found = await self._store.stat(stat.key)
        if found.etag != stat.etag:
            raise Replaced(f"{stat.key} was replaced; the newer version is taken up.")
        return found.metadata

    async def _toml(self, stat: Stat) -> bytes | None:
        try:
            return await self._store.get(options_key(stat.key))
        except NotFound:
            return None

    async def _give_back(self, digest: str, batch_id: str) -> None:
        try:
            await self._claims.release(digest, batch_id)
        except (RedisError, OSError):
            return  # the claim's owner shows no sign of life any more, so it is taken over


def _refusal(stat: Stat) -> str:
    """What a claim holds when this upload can be no batch; the same bytes put again are looked at again."""
    return f"{REFUSED} {stat.modified_s!r}"


def _refusal_of_before(stat: Stat) -> Callable[[str], bool]:
    """Whether a claim's holder is a refusal of an earlier upload of the same bytes."""
    return lambda holder: holder.startswith(REFUSED) and holder != _refusal(stat)
