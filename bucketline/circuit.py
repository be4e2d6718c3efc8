"""The circuits of routes and accounts, as they stand in Redis for the whole fleet.

A circuit is closed while calls may pass, open while they may not, half-open while one probe is under way (Nygard,
"Release It!", 2007). Its name is a route (``provider/model``), opened by failures of its own, or a provider's account,
opened by an exhausted account, a bad key or a spent day. Written by ``worker.health``; read here for ``why``, ``top`` and
``providers``; closed by hand with ``resume``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bucketline import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Circuit", "read_circuits", "resume"]


@dataclass(frozen=True, slots=True)
class Circuit:
    """One open circuit. ``until_s`` is unix time of the next probe; None: an operator must resume it."""

    name: str
    kind: str  #: the failure kind that opened it
    until_s: float | None
    probing: bool = False


async def read_circuits(redis: Redis, names: Sequence[str]) -> dict[str, Circuit]:
    """Those of the named circuits that are open."""
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hmget(keys.circuit(name), ["kind", "until_us", "probe_us"])
    found: dict[str, Circuit] = {}
    for name, (kind, until_us, probe_us) in zip(names, await pipe.execute(), strict=True):
        if kind:
            until = int(until_us or 0)
            found[name] = Circuit(name, kind.decode(), until / 1e6 if until else None, bool(int(probe_us or 0)))
    return found


async def resume(redis: Redis, name: str) -> bool:
    """Close a circuit by hand; False when it was not open."""
    return bool(await redis.delete(keys.circuit(name)))
