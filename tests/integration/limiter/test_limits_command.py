"""``bucketline limits``: what a person sees of the gate, and how they change it."""

from __future__ import annotations

import asyncio
import json

import pytest
from redis.asyncio import Redis

from bucketline.catalog import Limits
from worker.cli import run
from worker.limiter import Demand, Gate


@pytest.fixture
def used_scope(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A scope of which three requests a minute of six are used, with one call in flight."""

    async def use() -> None:
        redis: Redis = Redis.from_url(redis_url)
        gate = Gate(redis, "w")
        where = (("alpha", Limits(rpm=6, concurrency=9, burst_s=60.0)),)
        permits = [await gate.admit(where, Demand()) for _ in range(3)]
        for permit in permits[1:]:
            gate.settle(permit)
        await gate.close()
        await redis.aclose()

    asyncio.run(use())
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    return "alpha"


def limits(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert run(["limits", "--json"]) == 0
    (scope,) = json.loads(capsys.readouterr().out)["scopes"]
    return dict(scope)


def test_limit_use_and_calls_in_flight_are_shown(used_scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = limits(capsys)
    assert shown["scope"] == used_scope
    assert shown["limits"] == {
        "rpm": {"limit": 6, "used": 3, "source": "configuration"},
        "concurrency": {"limit": 9, "used": 1, "source": "configuration"},
    }
    assert (shown["in_flight"], shown["waiting"], shown["pause_reason"]) == (1, 0, None)


def test_the_table_names_every_limit(used_scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["limits"]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in (used_scope, "rpm", "concurrency", "configuration"))


def test_a_figure_is_set_and_given_back(used_scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["limits", "set", used_scope, "--rpm", "9_000"]) == 0
    capsys.readouterr()
    assert limits(capsys)["limits"]["rpm"] == {"limit": 9000, "used": 3, "source": "operator"}  # type: ignore[index]
    assert run(["limits", "set", used_scope, "--rpm", "none"]) == 0
    capsys.readouterr()
    assert limits(capsys)["limits"]["rpm"]["source"] == "configuration"  # type: ignore[index]


def test_a_scope_that_nobody_uses_is_set_and_said(used_scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the pen would limit nothing, and nobody would know."""
    assert run(["limits", "set", used_scope, "--rpm", "7"]) == 0
    assert "No worker" not in capsys.readouterr().err
    assert run(["limits", "set", "alhpa", "--rpm", "7"]) == 0
    assert "No worker has used a scope alhpa yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["--rpm", "fast"], "--rpm is 'fast'"), (["--input-tpm", "0"], "--input-tpm is '0'"), ([], "No figure was given")],
)
def test_a_wrong_figure_is_refused_in_one_sentence(
    used_scope: str, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert run(["limits", "set", used_scope, *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
