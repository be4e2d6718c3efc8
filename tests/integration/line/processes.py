"""The worker as a process of its own, for what only a process can show: signals, exit codes, death."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.integration.line.weathered import KEY, Scene
from tests.replay.child import Child

__all__ = ["worker_process", "write_config"]

ROOT = Path(__file__).parents[3]


def write_config(scene: Scene, redis_url: str | None = None, **worker: object) -> Path:
    """The scene's settings as a file, past the wire unless told otherwise."""
    provider = scene.settings.providers["alpha"].model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    given = {"lease_s": 1, "concurrency": 20, "grace_s": 5, **worker}
    path = scene.folder / "bucketline.toml"
    path.write_text(
        "\n".join(
            [
                f"redis_url = {json.dumps(redis_url or scene.redis.url)}",
                f"store = {json.dumps(scene.settings.store)}",
                "[providers.alpha]",
                *(f"{name} = {json.dumps(value)}" for name, value in provider.items()),
                '[prices."alpha/alpha-small"]',
                'input = "1.00"',
                'output = "3.00"',
                "[worker]",
                *(f"{name} = {json.dumps(value)}" for name, value in given.items()),
                "",
            ]
        )
    )
    return path


def worker_process(scene: Scene, name: str, *, program: Sequence[str] = ("-m", "worker.cli"), config: Path) -> Child:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SIM_KEY": KEY}
    command = [sys.executable, *program, "--config", str(config), "work"]
    return Child(command, folder=scene.folder, name=name, env=env)
