"""A line that kills its worker is found and set apart; its neighbours finish.

The worker is the product in a process of its own, started again by the test as its supervisor would. What kills it is a real crash in
C code, on one line's answer.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.integration.line.processes import worker_process, write_config
from tests.integration.line.weathered import Scene, a_scene
from tests.replay.child import Child

#: crashes where the poisoned line's answer is read, as a fault in a parser written in C would
WORKER = """
import ctypes, sys
from worker.attempt import Caller
whole = Caller._exchange
async def exchange(self, life, *rest, **named):
    result = await whole(self, life, *rest, **named)
    if b"poison" in life.request.body:
        ctypes.string_at(0)
    return result
Caller._exchange = exchange
from worker.cli import main
main(sys.argv[1:])
"""


def start(scene: Scene, number: int) -> Child:
    return worker_process(scene, f"worker-{number}", program=("-c", WORKER), config=write_config(scene))


@pytest.mark.slow
async def test_the_poisoned_line_becomes_an_error_line_and_its_neighbours_finish(tmp_path: Path) -> None:
    """It costs a few deaths of workers: two until the shard is suspected, the rest until the line stands alone."""
    async with a_scene(tmp_path, latency_s=0.1) as scene:
        rows = [scene.line(n) for n in range(1, 26)]
        rows[11]["body"]["messages"][0]["content"] += " poison"
        batch_id = await scene.submit_rows(rows)
        deaths = 0
        worker = start(scene, 0)
        try:
            async with asyncio.timeout(90):
                while not await scene.is_over(batch_id):
                    if worker.exit is not None:
                        assert worker.exit == -signal.SIGSEGV, worker.said()[1][-2000:]
                        worker.close()
                        deaths += 1
                        worker = start(scene, deaths)
                    await asyncio.sleep(0.1)
        finally:
            worker.close()
        _, answered, failed = await scene.results(batch_id)
        assert [row["custom_id"] for row in failed] == ["l12"]
        assert failed[0]["error"]["code"] == "internal"
        assert "set apart" in failed[0]["error"]["message"]
        assert len(answered) == 24
        assert 4 <= deaths <= 7


@pytest.mark.slow
async def test_killed_workers_alone_condemn_no_line(tmp_path: Path) -> None:
    """Three workers in a row are killed from outside: the shard is worked off in isolation, and every line is answered."""
    async with a_scene(tmp_path, latency_s=0.5, concurrency=20) as scene:
        batch_id = await scene.submit(25)
        for number in range(3):
            worker = start(scene, number)
            async with asyncio.timeout(20), scene.client() as redis:
                while not await redis.keys("arq:in-progress:*"):
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            worker.signal(signal.SIGKILL)
            worker.close()
            await asyncio.sleep(1.2)
        worker = start(scene, 3)
        try:
            _, answered, failed = await scene.results(batch_id)
        finally:
            worker.close()
        assert (len(answered), failed) == (25, [])
        assert "isolated" in worker.said()[1]
