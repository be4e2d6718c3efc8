"""The bucket door: objects put under ``inbox/`` become batches.

Comes in: listings of the inbox, every few seconds or when nudged. Goes out: each version (key and ETag) of each object
that has been still for a moment and is nobody's yet, a few at once, to ``inbox_take``; what the uploader is told is
``outbox``'s. Objects are never deleted or moved: the uploader's access may not allow it and a name that vanishes looks
like a loss; claims in Redis remember what was taken, and where Redis was emptied the status in the outbox does. Run by
``bucketline inbox`` and by workers with ``--inbox``.
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

from bucketline.errors import BucketlineError, ConfigError
from bucketline.layout import INBOX
from bucketline.settings import Settings
from bucketline.store import Stat, Store
from producer.claims import REFUSED, Claims, Standing, source_digest
from producer.inbox_names import Stillness, is_upload, options_key
from producer.inbox_take import Found, Taker, refusal
from producer.notices import Notices
from producer.outbox import Outbox
from producer.source import Replaced
from producer.webhooks import webhooks_of

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["Inbox", "run_inbox"]

_log = structlog.get_logger(__name__)
_AGAIN_S = 60.0  #: an object that met a fault of ours or of the operator's is tried again after this
_RENEW_S = 86400.0  #: claims live for a month after a look, and objects may lie in the inbox for longer
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
        self.nudge = asyncio.Event()  #: set to have the inbox looked at now
        self._store = store
        self._settings = settings.inbox
        self._clock = clock
        self._monotonic = monotonic
        self._claims = Claims(redis, store)
        self._taker = Taker(store, redis, settings, outbox, self._claims, env, clock)
        self._still = Stillness(settings.inbox.settle_s)
        self._known: dict[str, str] = {}  #: key → ETag of versions that need no further look
        self._renew_at_s = monotonic() + _RENEW_S
        self._again_s: dict[str, float] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(settings.inbox.takes)
        self._closing = False

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.is_set():
            wait_s = self._settings.poll_s
            try:
                await self.look()
            except (RedisError, OSError, BucketlineError) as error:
                _log.warning("inbox_put_off", reason=str(error) or type(error).__name__)
            except Exception as error:  # the next look may fare better; without one nobody's object is taken
                _log.error("inbox_broke", error=type(error).__name__, exc_info=True)
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
        self._closing = True
        if self._taking:
            await asyncio.wait(self._taking.values(), timeout=_LAST_WORD_S)
        for task in self._taking.values():
            task.cancel()
        await asyncio.gather(*self._taking.values(), return_exceptions=True)

    async def look(self) -> None:
        """One listing; a task for each object that is whole and nobody's yet."""
        uploads, others = [], set()
        async for stat in self._store.list(INBOX):
            if is_upload(stat.key):
                uploads.append(stat)
            else:
                others.add(stat.key)
        etags = {stat.key: stat.etag for stat in uploads}
        self._known = {key: etag for key, etag in self._known.items() if etags.get(key) == etag}
        await self._renew([stat for stat in uploads if stat.key in self._known])
        open_ = await self._open([s for s in uploads if s.key not in self._known and s.key not in self._taking])
        now_s = self._monotonic()
        self._again_s = {key: due_s for key, due_s in self._again_s.items() if due_s > now_s}
        whole = self._still.look((stat for stat, _ in open_.values()), now_s, self._clock())
        random.shuffle(whole)  # several watchers begin at different ends
        for stat in whole:
            if stat.key not in self._again_s:
                _, holder = open_[stat.key]
                self._begin(Found(stat, _digest(stat), holder, options_key(stat.key) in others))

    async def _renew(self, known: list[Stat]) -> None:
        """Once a day, have the claims live on; an object whose claim has gone is looked at again."""
        if self._monotonic() < self._renew_at_s:
            return
        for stat, holder in zip(known, await self._claims.holders(list(map(_digest, known))), strict=True):
            if holder is None:
                del self._known[stat.key]
        self._renew_at_s = self._monotonic() + _RENEW_S

    async def _open(self, fresh: list[Stat]) -> dict[str, tuple[Stat, str | None]]:
        """Those that are nobody's, by key, with what holds the claim on them all the same."""
        holders = await self._claims.holders([_digest(stat) for stat in fresh])
        named = [holder for holder in holders if holder is not None and not holder.startswith(REFUSED)]
        standings = dict(zip(named, await self._claims.standings(named), strict=True))
        open_: dict[str, tuple[Stat, str | None]] = {}
        for stat, holder in zip(fresh, holders, strict=True):
            standing = standings.get(holder) if holder is not None else None
            if holder == refusal(stat) or standing is Standing.STANDS:
                self._known[stat.key] = stat.etag
            elif standing is not Standing.UNDER_WAY:
                open_[stat.key] = (stat, holder)
        return open_

    def _begin(self, found: Found) -> None:
        key = found.stat.key
        task = asyncio.create_task(self._take(found), name=f"take {key}")
        self._taking[key] = task
        task.add_done_callback(lambda _: self._taking.pop(key, None))

    async def _take(self, found: Found) -> None:
        """Take up one object; whatever goes wrong with it stops no other."""
        key = found.stat.key
        async with self._room:
            if self._closing:
                return  # thousands may wait for room; they are nobody's yet, and are found again
            try:
                await self._taker.take(found)
            except Replaced as error:
                _log.info("take_put_off", source=key, reason=str(error))
            except ConfigError as error:
                self._again_s[key] = self._monotonic() + _AGAIN_S
                _log.warning("take_put_off", source=key, reason=str(error))
            except (RedisError, OSError, BucketlineError) as error:
                self._again_s[key] = self._monotonic() + self._settings.poll_s
                _log.warning("take_put_off", source=key, reason=str(error) or type(error).__name__)
            except Exception as error:
                self._again_s[key] = self._monotonic() + _AGAIN_S
                _log.error("take_broke", source=key, error=type(error).__name__, exc_info=True)


def _digest(stat: Stat) -> str:
    """Of one version of one object."""
    return source_digest("inbox", stat.key, stat.etag)
