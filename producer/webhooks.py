"""Webhooks: an address of the operator's is told when an inbox object's batch is over, or was refused.

Comes in: what happened, as the outbox tells it. Goes out: a POST signed as Standard Webhooks says (``webhook-id``,
``webhook-timestamp``, ``webhook-signature: v1,`` + base64 of the HMAC-SHA256 of ``id.timestamp.body``), until it is
answered with 2xx: at least once, under one id however often. What is still to be told lies in Redis, so it outlives the
process; if Redis is emptied, the outbox tells it still. Called by ``outbox``, by one watcher of the fleet.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from bucketline import keys
from bucketline.batch import iso_time
from bucketline.errors import ConfigError
from bucketline.settings import WebhookSettings
from bucketline.splice import dumps, loads

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Webhooks", "signature", "webhooks_of"]

_log = structlog.get_logger(__name__)
#: seconds after a try that failed; after the last one nothing more is told
_AGAIN_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
_TIMEOUT_S = 15.0
_AT_ONCE = 8
_GONE = 410  #: the receiver wants no more of this

Post = Callable[[str, bytes, Mapping[str, str]], int]  #: blocks; the status, or 0 where there was no answer


def webhooks_of(redis: Redis, settings: WebhookSettings, env: Mapping[str, str]) -> Webhooks | None:
    """The configured webhook; None where there is none. Raises ConfigError when its secret cannot be used."""
    if settings.url is None:
        return None
    secrets = env.get(settings.secret_env, "").split()
    if not secrets:
        raise ConfigError(f"The variable {settings.secret_env}, which holds the webhook's secret, is not set.")
    try:
        raw = [base64.b64decode(secret.removeprefix("whsec_"), validate=True) for secret in secrets]
    except binascii.Error:
        raise ConfigError(f"The secret in {settings.secret_env} is not base64 behind whsec_.") from None
    return Webhooks(redis, settings.url, raw)


def signature(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """One entry of ``webhook-signature``."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


class Webhooks:
    """What is still to be told, and the telling. With several secrets each signs, so that they can be changed."""

    def __init__(
        self,
        redis: Redis,
        url: str,
        secrets: list[bytes],
        *,
        clock: Callable[[], float] = time.time,
        post: Post | None = None,
    ) -> None:
        self._redis = redis
        self._url = url
        self._secrets = secrets
        self._clock = clock
        self._post = post or _post
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def add(self, name: str, kind: str, data: Mapping[str, Any]) -> None:
        """Have it told that ``kind`` (``batch.completed``, …) happened; a second time under one name is nothing."""
        now_s = self._clock()
        body = dumps({"type": kind, "timestamp": iso_time(now_s), "data": dict(data)}).decode()
        held = dumps({"body": body, "tries": 0, "due_s": now_s}).decode()
        await self._redis.hsetnx(keys.WEBHOOKS, f"msg_{name}", held)  # type: ignore[misc]

    async def tell(self, *, wait: bool = False) -> None:
        """Begin to tell what is due; with ``wait`` also wait for the answers."""
        raw: dict[bytes, bytes] = await self._redis.hgetall(keys.WEBHOOKS)  # type: ignore[misc]
        for field, value in raw.items():
            message_id, held = field.decode(), loads(value)
            if message_id not in self._telling and held["due_s"] <= self._clock():
                task = asyncio.create_task(self._tell(message_id, held), name=f"webhook {message_id}")
                self._telling[message_id] = task
                task.add_done_callback(partial(self._told, message_id))
        if wait:
            await asyncio.gather(*self._telling.values(), return_exceptions=True)

    def _told(self, message_id: str, telling: asyncio.Task[None]) -> None:
        self._telling.pop(message_id, None)
        if not telling.cancelled() and (error := telling.exception()) is not None:
            _log.warning(
                "webhook_put_off", webhook=message_id, error=type(error).__name__
            )  # told again in the next round

    async def close(self) -> None:
        """Tell no more; what was not answered is told again by the next watcher."""
        tasks = list(self._telling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, message_id: str, held: dict[str, Any]) -> None:
        async with self._room:
            body, now_s = held["body"].encode(), int(self._clock())
            headers = {
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(now_s),
                "webhook-signature": " ".join(signature(one, message_id, now_s, body) for one in self._secrets),
            }
            status = await asyncio.to_thread(self._post, self._url, body, headers)
            if 200 <= status < 300:
                await self._redis.hdel(keys.WEBHOOKS, message_id)  # type: ignore[misc]
                return
            tries = held["tries"]
            if tries >= len(_AGAIN_S) or status == _GONE:
                _log.error("webhook_given_up", webhook=message_id, status=status, tries=tries + 1)
                await self._redis.hdel(keys.WEBHOOKS, message_id)  # type: ignore[misc]
                return
            _log.warning("webhook_put_off", webhook=message_id, status=status, again_s=_AGAIN_S[tries])
            later = {**held, "tries": tries + 1, "due_s": self._clock() + _AGAIN_S[tries]}
            await self._redis.hset(keys.WEBHOOKS, message_id, dumps(later).decode())  # type: ignore[misc]


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send once; redirects are not followed, since a signed message goes to its address alone."""
    import urllib3

    with urllib3.PoolManager(timeout=_TIMEOUT_S, retries=False) as pool:
        try:
            answer = pool.request("POST", url, body=body, headers=dict(headers), redirect=False, preload_content=False)
        except urllib3.exceptions.HTTPError:
            return 0
        answer.close()
        return int(answer.status)
