"""``bucketline providers``: a row for each configured provider, and in it what our own calls found out."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bucketline.catalog import Catalog
from bucketline.failure import Failure, Kind
from bucketline.settings import Settings
from bucketline.usage import Usage
from worker.cli import run
from worker.measured import Measurements

TOML = """
[providers.alpha]
base_url = "http://127.0.0.1:9/v1"
[providers.beta]
base_url = "http://127.0.0.1:8/v1"
[models.small]
routes = [{ provider = "alpha", model = "small" }, { provider = "beta", model = "tiny" }]
"""


async def call_alpha(redis_url: str) -> None:
    """Three calls that went well and one that did not, as a worker notes them."""
    redis = Redis.from_url(redis_url)
    measured, route = Measurements(redis), Catalog(Settings.model_validate(tomllib.loads(TOML))).plan("small").routes[0]
    for _ in range(3):
        measured.note(route, 0.5, Usage(input_tokens=10, output_tokens=50), None)
    measured.note(route, 0.5, None, Failure(Kind.SERVER_ERROR, ""))
    await measured.tell()
    await redis.aclose()


def test_each_configured_provider_has_a_row_and_what_was_never_called_is_not_made_up(
    redis_url: str, work_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (work_folder / "bucketline.toml").write_text(TOML)
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    monkeypatch.setenv("BUCKETLINE_STORE", str(work_folder / "store"))
    asyncio.run(call_alpha(redis_url))
    assert run(["providers", "--json"]) == 0
    rows = {row["provider"]: row for row in json.loads(capsys.readouterr().out)["providers"]}
    assert rows.keys() == {"alpha", "beta"}
    assert rows["alpha"]["calls"] == pytest.approx(4, abs=0.01)
    assert rows["alpha"]["success_rate"] == pytest.approx(0.75, abs=0.01)
    assert rows["alpha"]["tokens_per_s"] == pytest.approx(100, rel=0.1)
    assert not rows["beta"]["calls"]
    assert rows["beta"]["success_rate"] is None
