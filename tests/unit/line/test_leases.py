"""When a process may take up shards: at once what nobody began, and what was begun only when who lives has said so."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from fakeredis.aioredis import FakeRedis

from bucketline import keys
from bucketline.ledger_shards import Renewed, Standing
from worker.lease import Leases, renewal_s
from worker.openshard import OpenShard

LEASE_S = 15.0
EVERY_S = renewal_s(LEASE_S)


class Scene:
    """Leases of a process without shards, on a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.redis = FakeRedis()
        self.run = "a"
        self.hears_after_s = 0.0
        self.open: set[OpenShard] = set()
        engine = SimpleNamespace(
            redis=self.redis,
            ledger=SimpleNamespace(renew=self.renew),
            worker_id="me",
            settings=SimpleNamespace(worker=SimpleNamespace(lease_s=LEASE_S)),
            runner=SimpleNamespace(open=self.open),
            turnstile=SimpleNamespace(look=lambda: None),
            sight=SimpleNamespace(renewals=0),
            finishing=set(),
        )
        self.leases = Leases(cast("Any", engine), lambda: self.now_s)

    async def renew(self, owner: str, life_s: float, shards: Sequence[tuple[str, int]]) -> Renewed:
        self.now_s += self.hears_after_s
        return Renewed(self.run, [Standing(True, 7, 0) for _ in shards])

    async def renew_after(self, seconds: float) -> tuple[bool, bool]:
        self.now_s += seconds
        await self.leases.step()
        return self.leases.undisturbed, self.leases.calm


async def test_a_process_that_is_alone_waits_for_nobody() -> None:
    scene = Scene()
    assert (scene.leases.undisturbed, scene.leases.calm) == (False, False), "it does not know yet whether it is alone"
    assert await scene.renew_after(0.0) == (True, True)


async def test_a_new_process_beside_others_begins_only_what_nobody_began() -> None:
    """Those who hold something may be cut off from Redis: they get the time of one renewal."""
    scene = Scene()
    await scene.redis.zadd(keys.WORKERS, {"another": 1.0})
    assert await scene.renew_after(0.0) == (True, False)
    assert await scene.renew_after(EVERY_S) == (True, False)
    assert await scene.renew_after(EVERY_S) == (True, True)


async def test_a_process_that_stood_still_takes_up_nothing_until_the_others_had_time() -> None:
    """It cannot know what happened to Redis meanwhile: that a shard was never begun may have been forgotten there."""
    scene = Scene()
    await scene.renew_after(0.0)
    scene.now_s += 3 * LEASE_S
    assert (scene.leases.undisturbed, scene.leases.calm) == (False, False)
    assert await scene.renew_after(0.0) == (False, False)
    assert await scene.renew_after(EVERY_S) == (False, False)
    assert await scene.renew_after(EVERY_S) == (False, True)


async def test_an_answer_that_waited_here_renews_nothing_for_longer_than_it_did_in_redis() -> None:
    """A process may be stopped between asking and hearing; the lease runs from when it asked."""
    scene = Scene()
    await scene.renew_after(0.0)
    scene.hears_after_s = 2 * LEASE_S
    await scene.leases.step()
    assert not scene.leases.fresh
    assert not scene.leases.calm


async def test_a_question_that_was_on_its_way_while_redis_was_away_makes_nobody_calm() -> None:
    """Its answer is the first sign of Redis for everybody: the others had no time to renew before it."""
    scene = Scene()
    await scene.renew_after(0.0)
    scene.now_s += EVERY_S
    scene.hears_after_s = LEASE_S  # the client tries again until Redis is back
    await scene.leases.step()
    assert not scene.leases.calm
    scene.hears_after_s = 0.0
    assert await scene.renew_after(EVERY_S) == (False, False)
    assert await scene.renew_after(EVERY_S) == (False, True)


async def test_another_life_of_redis_puts_every_open_shard_in_doubt() -> None:
    """It may have forgotten the last second, and the list may be as long as it was."""
    scene = Scene()
    shard = OpenShard("batch_a", 0, generation=7)
    scene.open.add(shard)
    await scene.renew_after(0.0)
    scene.run = ""  # INFO is not allowed there for a moment
    await scene.renew_after(EVERY_S)
    assert not shard.stale
    scene.run = "b"
    await scene.renew_after(EVERY_S)
    assert shard.stale
