"""What a worker learns about sizes outlives it, is the fleet's, and its error is shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.line.processes import write_config
from tests.integration.line.weathered import a_scene
from worker.cli import run


async def test_sizes_are_learnt_told_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that starts anew must not reserve blindly what the one before it knew."""
    async with a_scene(tmp_path, latency_s=0.01) as scene:
        config = write_config(scene)
        await scene.start()
        await scene.results(await scene.submit(40))
        first = scene.engine.runner.dispatcher.likely.models["alpha/alpha-small"]
        await scene.stop()
        engine = await scene.start()
        likely, route = engine.runner.dispatcher.likely, engine.catalog.plan("alpha/alpha-small").routes[0]
        likely.model(route)
        await engine.learning.share()
        assert (likely.model(route).output_p95, likely.model(route).answers) == (first.output_p95, 40)
        await scene.stop()
        capsys.readouterr()  # what the worker had to say
        assert first.error is not None
        for verb in ("status", "limits"):
            assert await asyncio.to_thread(run, ["--config", str(config), verb, "--json"]) == 0
            (shown,) = json.loads(capsys.readouterr().out)["estimates"].values()
            assert shown["input_error"] == pytest.approx(first.error, abs=1e-4)
            assert shown["output_p95_tokens"] == first.output_p95
            assert await asyncio.to_thread(run, ["--config", str(config), verb]) == 0
            assert f"{first.error:.1%}" in capsys.readouterr().out
