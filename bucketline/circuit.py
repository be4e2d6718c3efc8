"""The circuits of routes and accounts, as they stand in Redis for the whole fleet.

A circuit is closed while calls may pass, open while they may not, half-open while one probe is under way (Nygard,
"Release It!", 2007). Its name is a route (``provider/model``), opened by failures of its own, or a provider's account,
opened by an exhausted account, a bad key or a spent day. Written by ``worker.health``; read here for ``why``, ``top`` and
``providers``; ``resume`` lets the next call through, and closes it if that goes well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from bucketline import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["CIRCUIT_FIELDS", "Circuit", "circuit_of", "read_all_circuits", "read_circuits", "resume"]

CIRCUIT_FIELDS = ("kind", "until_us", "probe_us", "opened_us")


@dataclass(frozen=True, slots=True)
class Circuit:
    """One open circuit. ``until_s`` is unix time of the next probe; None: an operator must resume it."""

    name: str
    kind: str  #: the failure kind that opened it, or "failing" where several did
    until_s: float | None
    probing: bool = False
    opened_s: float | None = None  #: unix time


async def read_circuits(redis: Redis, names: Sequence[str]) -> dict[str, Circuit]:
    """Those of the named circuits that are open."""
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hmget(keys.circuit(name), list(CIRCUIT_FIELDS))
    found = zip(names, await pipe.execute(), strict=True)
    return {name: circuit for name, fields in found if (circuit := circuit_of(name, fields)) is not None}


def circuit_of(name: str, fields: Sequence[bytes | None]) -> Circuit | None:
    """One circuit from the values of ``CIRCUIT_FIELDS``; None while it is closed."""
    kind, until_us, probe_us, opened_us = fields
    if not kind:
        return None
    until, opened = int(until_us or 0), int(opened_us or 0)
    probing = bool(int(probe_us or 0))
    return Circuit(name, kind.decode(), until / 1e6 if until else None, probing, opened / 1e6 if opened else None)


async def read_all_circuits(redis: Redis) -> list[Circuit]:
    """Every open circuit, by name. Looks through the whole of Redis: for people, never for the line."""
    prefix = keys.circuit("").encode()
    names = sorted({raw.removeprefix(prefix).decode() async for raw in redis.scan_iter(prefix + b"*", count=1000)})
    found = await read_circuits(redis, names) if names else {}
    return list(found.values())


async def resume(redis: Redis, name: str) -> bool:
    """Let the next call through; False when the circuit was not open.

    Its answer closes the circuit for the whole fleet; its failure leaves it open, so one call is all that a hasty
    operator costs.
    """
    text = files("bucketline").joinpath("circuit_resume.lua").read_text(encoding="utf-8")
    return bool(await redis.register_script(text)(keys=[keys.circuit(name)]))
