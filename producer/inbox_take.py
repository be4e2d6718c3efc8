"""One inbox object on its way from a claim to a batch.

Comes in: an object that is whole and was nobody's at the last look. Goes out: a batch, taken by this watcher alone; or the
word of another watcher's; or a refusal, told in the outbox. Whatever goes wrong on the way, the claim is given back, or
its owner shows no sign of life any more, so the object is found again. Called by ``inbox``, which decides when.

What it costs in S3 requests, beside the listing: GET of the last status, HEAD for the options in the metadata, GET of the
object, and of the options' file where there is one; PUT of the status, the input, the mark, and the document.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from bucketline.batch import new_batch_id
from bucketline.errors import ConfigError, ServiceUnavailable, UsageError
from bucketline.settings import Settings
from bucketline.store import NotFound, Stat, Store, StoreError
from producer.batch_writer import BatchWriter
from producer.claims import REFUSED, Claims, Sign, Standing, signs_of_life
from producer.inbox_names import full_name_of, name_of, options_key
from producer.inbox_options import upload_options
from producer.intake import make_batch
from producer.judge import Judge
from producer.outbox import Outbox, Upload
from producer.source import Replaced, StoredInput

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["Found", "Taker", "refusal"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """An object as a look saw it."""

    stat: Stat
    digest: str  #: of its key and version
    holder: str | None  #: of the claim on it: nobody, a producer that died, or a refusal of an earlier upload
    has_options: bool  #: whether a file of options lies beside it


def refusal(stat: Stat) -> str:
    """What a claim holds when this upload can be no batch; the same bytes put again are looked at again."""
    return f"{REFUSED} {stat.modified_s!r}"


class Taker:
    """Makes batches of inbox objects."""

    def __init__(
        self,
        store: Store,
        redis: ArqRedis,
        settings: Settings,
        outbox: Outbox,
        claims: Claims,
        env: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._redis = redis
        self._settings = settings
        self._outbox = outbox
        self._claims = claims
        self._env = env
        self._clock = clock

    async def take(self, found: Found) -> None:
        """Take up one object, unless another watcher has it.

        Raises Replaced (the next look shows the newer version), ConfigError (the uploader has been told; an operator must
        mend it), and the errors of Redis and the store.
        """
        if await self._claims.holder(found.digest) != found.holder:
            return  # taken since the look: much the most frequent end where several watch
        batch_id = new_batch_id()
        async with signs_of_life(self._redis, batch_id) as sign:
            over = _refusal_of_before(found.stat)
            if await self._claims.take(found.digest, batch_id, over=over) is not None:
                return
            try:
                await self._claimed(found, batch_id, sign)
            except BaseException:
                if not sign.keep:
                    await asyncio.shield(self._give_back(found.digest, batch_id))
                raise

    async def _claimed(self, found: Found, batch_id: str, sign: Sign) -> None:
        stat = found.stat
        name, said = await self._place(stat)
        if said is not None and said.get("etag") == stat.etag and "id" in said:
            (standing,) = await self._claims.standings([said["id"]])
            if standing is not Standing.DEAD:  # Redis has forgotten what this version became
                await self._claims.hand_over(found.digest, batch_id, said["id"])
                return
        upload = Upload(batch_id, stat.key, stat.etag, name, self._clock())
        await self._outbox.begin(upload, anew=said is not None)
        try:
            await self._submit(upload, found, sign)
        except (Replaced, ServiceUnavailable, StoreError):
            if not sign.keep:
                await self._outbox.forget(upload)
            raise
        except ConfigError as error:
            await self._outbox.reject(upload, error)
            raise
        except UsageError as error:
            await self._outbox.reject(upload, error)
            await self._claims.hand_over(found.digest, batch_id, refusal(stat))
            _log.info("inbox_rejected", source=stat.key, reason=str(error))

    async def _place(self, stat: Stat) -> tuple[str, dict[str, Any] | None]:
        """The object's name under ``outbox/``, and the last status there.

        Two objects whose names differ only behind ``.jsonl`` do not share a folder: the later one's is its full name.
        """
        name = name_of(stat.key)
        said = await self._outbox.status_of(name)
        if said is not None and said.get("source") != stat.key:
            name = full_name_of(stat.key)
            said = await self._outbox.status_of(name)
        return name, said

    async def _submit(self, upload: Upload, found: Found, sign: Sign) -> None:
        stat = found.stat
        metadata, toml = await self._metadata(stat), await self._toml(found)
        options, how = upload_options(stat.key, self._settings, metadata, toml)
        judge = Judge(self._settings, options, self._env, _log.warning, check_keys=True)
        writer = BatchWriter(self._store, self._settings, judge, how, self._clock)
        document = await make_batch(upload.batch_id, StoredInput(stat.key, stat.etag), writer, self._redis, sign)
        _log.info("inbox_taken", batch=upload.batch_id, source=stat.key, lines=document.lines)

    async def _metadata(self, stat: Stat) -> Mapping[str, str]:
        now = await self._store.stat(stat.key)
        if now.etag != stat.etag:
            raise Replaced(f"{stat.key} was replaced; the newer version is taken up.")
        return now.metadata

    async def _toml(self, found: Found) -> bytes | None:
        if not found.has_options:
            return None
        try:
            return await self._store.get(options_key(found.stat.key))
        except NotFound:
            return None

    async def _give_back(self, digest: str, batch_id: str) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._claims.release(digest, batch_id)


def _refusal_of_before(stat: Stat) -> Callable[[str], bool]:
    """Whether a claim's holder is a refusal of an earlier upload of the same bytes."""
    return lambda holder: holder.startswith(REFUSED) and holder != refusal(stat)
