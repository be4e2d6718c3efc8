"""``doctor --recover``: one batch, or all that Redis lacks; and what is over is left alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bucketline.ledger import Ledger
from tests.integration.line.processes import write_config
from tests.integration.line.weathered import KEY, Scene, a_scene
from worker.cli import run


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setenv("SIM_KEY", KEY)
    async with a_scene(tmp_path, latency_s=0.0) as scene:
        yield scene


def doctor(scene: Scene, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    config = str(write_config(scene))
    capsys.readouterr()
    with ThreadPoolExecutor(1) as pool:  # the command has a loop of its own
        code = pool.submit(run, ["--config", config, "doctor", "--recover", "--json", *arguments]).result()
    said = capsys.readouterr()
    return code, json.loads(said.out)["recovered"] if said.out else [], said.err


async def test_one_batch_is_put_back_and_the_others_are_left(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = await scene.submit(3), await scene.submit(3)
    async with scene.client() as redis:
        await redis.flushall()
        assert doctor(scene, capsys, one)[:2] == (0, [one])
        assert await Ledger(redis).unknown([one, other]) == [other]
        assert doctor(scene, capsys, one)[:2] == (0, [])
        assert doctor(scene, capsys)[:2] == (0, [other])
        assert await Ledger(redis).unknown([one, other]) == []


async def test_a_batch_that_is_over_is_not_begun_again(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    await scene.start()
    batch_id = await scene.submit(3)
    await scene.results(batch_id)
    await scene.stop()
    async with scene.client() as redis:
        await redis.flushall()
        assert doctor(scene, capsys, batch_id)[:2] == (0, [])
        assert doctor(scene, capsys)[:2] == (0, [])
        assert await redis.zcard("bl:queue") == 0


async def test_a_batch_that_there_is_not_is_said(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = doctor(scene, capsys, "batch_nowhere")
    assert code == 2
    assert "There is no batch batch_nowhere" in said
