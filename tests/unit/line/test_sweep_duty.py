"""Whose the sweep is: one process's, as long as it can do it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from fakeredis.aioredis import FakeRedis

from bucketline import keys
from bucketline.store import StoreUnavailable
from worker.sweep import Sweep


class Process(Sweep):
    """A sweep that counts its rounds; its store may be out of reach."""

    def __init__(self, name: str, redis: FakeRedis) -> None:
        settings = SimpleNamespace(worker=SimpleNamespace(lease_s=15.0))
        control = SimpleNamespace(forgotten={})
        engine = SimpleNamespace(redis=redis, worker_id=name, settings=settings, control=control)
        self.now_s = 100.0
        super().__init__(cast("Any", engine), lambda: self.now_s)
        self.reaches_the_store, self.rounds = True, 0

    async def once(self) -> None:
        if not self.reaches_the_store:
            raise StoreUnavailable("The store refuses this machine's clock.")
        self.rounds += 1


async def test_a_process_that_cannot_sweep_leaves_it_to_one_that_can() -> None:
    """Else one machine whose clock is wrong would leave every batch of the fleet unfinished."""
    redis = FakeRedis()
    first, second = Process("first", redis), Process("second", redis)
    await first.turn()
    await second.turn()
    assert (first.rounds, second.rounds) == (1, 0)
    first.reaches_the_store = False
    await first.turn()
    await first.turn()
    await second.turn()
    assert (first.rounds, second.rounds) == (1, 1)
    assert await redis.get(keys.SWEEPER) == b"second"


async def test_a_process_that_failed_once_tries_again_after_a_rest() -> None:
    redis = FakeRedis()
    only = Process("only", redis)
    only.reaches_the_store = False
    await only.turn()
    only.reaches_the_store = True
    await only.turn()
    assert only.rounds == 0
    only.now_s += 16.0
    await only.turn()
    assert only.rounds == 1
