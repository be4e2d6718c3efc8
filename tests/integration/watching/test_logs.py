"""Logs: JSON in a service, readable on a terminal; ids, counts and kinds, never a prompt, an answer or a key."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.integration.watching.line import KEY, LIMIT_S, running
from tests.unit.producer.lines_for_tests import chat_line
from worker.logs import logger, set_up_logs
from worker.simulator import Fault, Weather

SECRET = "the-words-of-the-prompt"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Other tests log as they did; a logger that was used once keeps its form, so each test takes a new one."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_a_service_writes_one_json_object_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(json=True)
    logger("test.json").info("batch_finished", batch="batch_1", completed=3)
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["batch"], event["completed"], event["level"]) == (
        "batch_finished",
        "batch_1",
        3,
        "info",
    )
    assert event["timestamp"].endswith("Z")


def test_a_terminal_shows_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(json=False)
    logger("test.text").warning("claim_lost", shard=7)
    text = capsys.readouterr().err
    assert "claim_lost" in text
    assert not text.lstrip().startswith("{")


def test_a_log_that_cannot_be_written_raises_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A closed stderr or a pipe without a reader costs the event: a line must not fail for it."""
    set_up_logs(json=True)
    log = logger("test.closed")
    with (tmp_path / "log").open("w") as closed:
        monkeypatch.setattr("sys.stderr", closed)
        log.warning("written")
    log.warning("not written")
    read, written = os.pipe()
    os.close(read)
    unread = os.fdopen(written, "w", buffering=1)
    monkeypatch.setattr("sys.stderr", unread)
    log.warning("not written either")
    monkeypatch.undo()
    with contextlib.suppress(BrokenPipeError):
        unread.close()
    assert (tmp_path / "log").read_text().count("\n") == 1


async def test_a_line_in_bad_weather_logs_no_prompt_no_answer_and_no_key(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs(json=True, level="DEBUG")
    weather = Weather(rates={Fault.ERROR_500: 0.2, Fault.BROKEN: 0.1, Fault.CUT: 0.1, Fault.ERROR_200: 0.1})
    lines = [json.loads(chat_line(f"id-{n}", SECRET)) for n in range(60)]
    async with running(redis_url, tmp_path, simulated={"weather": weather}) as line:
        batch = await line.producer.submit(lines, check_keys=False)
        await line.producer.wait(batch, timeout_s=LIMIT_S)
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert SECRET not in text
    assert KEY not in text
    assert "echo" not in text, "the simulator's answers begin with it"
