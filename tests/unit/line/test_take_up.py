"""A process takes up what it asked for only if nothing happened to Redis while it asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker.service import LineWorker

JOB = "bl:batch_a:0"


class Scene:
    """What ``start_jobs`` needs of arq's worker and of the engine."""

    def __init__(self, *, away_meanwhile: bool) -> None:
        self.away_meanwhile = away_meanwhile
        self.pool = SimpleNamespace(mget=self.mget)
        self.max_jobs, self.job_counter, self.in_progress_timeout_s = 10, 0, 15.0
        self.sem, self.tasks = asyncio.Semaphore(10), dict[str, asyncio.Task[None]]()
        self.loop = asyncio.get_running_loop()
        self._leases = SimpleNamespace(calm=True, undisturbed=False)
        runner = SimpleNamespace(open_jobs=set, open_by_batch=dict, room_lines=100, spare_lines=0)
        self._engine = SimpleNamespace(stopping=asyncio.Event(), runner=runner, put_off=SimpleNamespace(names=set))

    async def mget(self, names: Sequence[str]) -> list[None]:
        return [None] * len(names)

    async def _take(self, job_ids: Sequence[str], _lease_s: float) -> dict[str, float]:
        self._leases.calm = not self.away_meanwhile
        return dict.fromkeys(job_ids, 1.0)

    async def _left_behind(self, _free: list[str]) -> set[str]:
        return set()

    async def run_job(self, _name: str, _rank: int) -> None:
        """The shard."""

    def _release_sem_dec_counter_on_complete(self) -> None:
        """arq's."""


@pytest.mark.parametrize(("away_meanwhile", "begun"), [(False, [JOB]), (True, [])])
async def test_nothing_is_taken_up_on_an_answer_that_redis_gave_after_it_was_away(
    away_meanwhile: bool, begun: list[str]
) -> None:
    """Marks that ran out meanwhile are those of living processes, which have not been able to renew them yet."""
    scene = Scene(away_meanwhile=away_meanwhile)
    await LineWorker.start_jobs(cast("Any", scene), [JOB.encode()])
    assert list(scene.tasks) == begun
    await asyncio.gather(*scene.tasks.values())
