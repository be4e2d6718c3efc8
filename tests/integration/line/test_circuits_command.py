"""An operator sees which routes are closed and why, and lets one be tried again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from redis import Redis

from bucketline import keys
from worker.cli import run


@pytest.fixture
def closed_account(redis_url: str, work_folder: Path) -> str:
    """A configuration, and an account that ran out of money five minutes ago."""
    (work_folder / "bucketline.toml").write_text(f'redis_url = "{redis_url}"\nstore = "store"\n')
    with Redis.from_url(redis_url) as redis:
        opened_us = str(int((time.time() - 300) * 1e6))
        redis.hset(
            keys.circuit("alpha"),
            mapping={
                "kind": "account_exhausted",
                "until_us": 0,
                "pause_ms": 1000,
                "probe_us": 0,
                "opened_us": opened_us,
            },
        )
        redis.hset(keys.circuit("beta/two"), mapping={"ok": 3, "failed": 1, "since_us": 1})
    return redis_url


def test_a_closed_account_is_shown_with_its_reason_and_its_remedy(
    closed_account: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["circuits", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["circuits"]
    assert (shown["route"], shown["kind"], shown["needs_operator"]) == ("alpha", "account_exhausted", True)
    assert run(["circuits"]) == 0
    table = capsys.readouterr().out
    assert "top it up" in table
    assert "5 min ago" in table
    assert "resume-route alpha" in table


def test_resuming_a_route_resumes_its_account_and_says_so(
    closed_account: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["resume-route", "alpha/one"]) == 0
    assert capsys.readouterr().err.startswith("alpha: the next call goes through")
    with Redis.from_url(closed_account) as redis:
        assert redis.hget(keys.circuit("alpha"), "until_us") == b"1"
    assert run(["circuits"]) == 0
    assert "with the next call" in capsys.readouterr().out
    assert run(["resume-route", "beta/two"]) == 0
    assert "is not closed" in capsys.readouterr().err
