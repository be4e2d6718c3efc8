"""What the monitor's keys do to the line: pause, resume and cancel a batch, resume a route, ask why.

Comes in: the id of a row. Goes out: a sentence for the person at the keys. Errors come out as sentences too: a monitor goes
on. Called by the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from redis.exceptions import RedisError

from bucketline.circuit import resume
from bucketline.errors import BucketlineError
from producer.place import place_of
from producer.why import causes

if TYPE_CHECKING:
    from producer.client import Producer
    from producer.monitor import Snapshot

__all__ = ["Actions", "ProducerActions"]


class Actions(Protocol):
    """What the app can ask for; each answers in a sentence."""

    async def pause(self, batch_id: str) -> str: ...
    async def resume(self, batch_id: str) -> str: ...
    async def cancel(self, batch_id: str) -> str: ...
    async def resume_route(self, name: str) -> str: ...
    async def why(self, batch_id: str, snapshot: Snapshot) -> list[str]: ...


class ProducerActions:
    """The real thing, on a producer's connections."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def pause(self, batch_id: str) -> str:
        try:
            await self._producer.pause(batch_id)
        except (BucketlineError, RedisError, OSError) as error:
            return _excuse(error)
        return f"{batch_id} is paused; calls in flight land."

    async def resume(self, batch_id: str) -> str:
        try:
            await self._producer.resume(batch_id)
        except (BucketlineError, RedisError, OSError) as error:
            return _excuse(error)
        return f"{batch_id} goes on."

    async def cancel(self, batch_id: str) -> str:
        try:
            state = await self._producer.cancel(batch_id)
        except (BucketlineError, RedisError, OSError) as error:
            return _excuse(error)
        return f"{batch_id} is {state}."

    async def resume_route(self, name: str) -> str:
        try:
            was_open = await resume(await self._producer.redis(), name)
        except (BucketlineError, RedisError, OSError) as error:
            return _excuse(error)
        return f"The next call tries {name} out." if was_open else f"{name} is open."

    async def why(self, batch_id: str, snapshot: Snapshot) -> list[str]:
        batch = snapshot.batch(batch_id)
        if batch is None:
            return [f"{batch_id} is no longer listed."]
        try:
            place = await place_of(await self._producer.redis(), batch)
        except (BucketlineError, RedisError, OSError) as error:
            return [_excuse(error)]
        return [cause.sentence for cause in causes(batch, snapshot, place)]


def _excuse(error: Exception) -> str:
    return str(error) or f"Redis is out of reach ({type(error).__name__})."
