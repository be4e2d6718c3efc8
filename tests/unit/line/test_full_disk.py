"""A disk that fills under a local run is told in a sentence, once: nothing else on the screen would say why it stands."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker import local


@pytest.mark.parametrize(("free_bytes", "told"), [(4096, 1), (1 << 30, 0)])
async def test_a_full_disk_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, told: int
) -> None:
    looks = 0

    async def no_circuits(_: Any) -> list[Any]:
        nonlocal looks
        looks += 1
        return []

    monkeypatch.setattr(local, "_TELL_S", 0.0)
    monkeypatch.setattr(local, "read_all_circuits", no_circuits)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))
    said: list[str] = []
    engine = cast("Any", SimpleNamespace(redis=None))
    telling = asyncio.create_task(local._tell_what_waits_for_people(engine, tmp_path, said.append))
    async with asyncio.timeout(10):
        while looks < 5:
            await asyncio.sleep(0)
    telling.cancel()
    assert len(said) == told
    assert all(str(tmp_path) in words and "--resume" in words for words in said)
