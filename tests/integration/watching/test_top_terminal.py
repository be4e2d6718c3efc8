"""``bucketline top`` as a person has it: in a terminal, by keys; and in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from bucketline import keys
from tests.unit.producer.lines_for_tests import chat_line
from worker.cli import run

LIMIT_S = 40.0
CONFIG = """
[providers.alpha]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "ALPHA_API_KEY"
[models.small]
routes = [{ provider = "alpha", model = "small" }]
"""


@pytest.fixture
def batch_id(
    redis_url: str, work_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """A batch on the queue, with nobody at work."""
    (work_folder / "bucketline.toml").write_text(CONFIG)
    (work_folder / "night.jsonl").write_bytes(b"\n".join(chat_line(n) for n in range(1, 8)))
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    monkeypatch.setenv("BUCKETLINE_STORE", str(work_folder / "store"))
    monkeypatch.setenv("ALPHA_API_KEY", "sk-very-secret")
    assert run(["submit", "night.jsonl"]) == 0
    found: str = json.loads(capsys.readouterr().out)["id"]
    return found


class Terminal:
    """A program on a pseudo-terminal of 80 by 24."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[3])}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def press(self, *typed: str) -> None:
        for key in typed:
            os.write(self._master, key.encode())

    def read(self, wait_s: float = 0.05) -> None:
        if select.select([self._master], [], [], wait_s)[0]:
            try:
                self.seen += re.sub(
                    r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self._master, 65536).decode(errors="replace")
                )
            except OSError:  # Linux says so when the program has left
                return

    def until(self, fact: Callable[[], bool], what: str) -> None:
        ends_s = time.monotonic() + LIMIT_S
        while not fact():
            self.read()
            assert time.monotonic() < ends_s, f"never: {what}; the screen: {self.seen[-2000:]}"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(batch_id: str) -> Iterator[Terminal]:
    opened = Terminal("top")
    yield opened
    opened.close()


def test_a_person_watches_pauses_and_cancels_by_keys(terminal: Terminal, batch_id: str, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:

        def field(name: str) -> bytes | None:
            return redis.hget(keys.batch_hash(batch_id), name)  # type: ignore[return-value]

        terminal.until(lambda: batch_id.removeprefix("batch_")[:8] in terminal.seen, "the batch is shown")
        assert "night.jsonl" in terminal.seen
        terminal.press("w")
        terminal.until(lambda: "No worker runs" in terminal.seen, "why says what it waits for")
        terminal.press("q")
        terminal.press("p")
        terminal.until(lambda: field("paused") == b"1", "p pauses")
        terminal.until(lambda: "paused" in terminal.seen, "it shows so")
        terminal.press("r")
        terminal.until(lambda: field("paused") == b"0", "r resumes")
        terminal.press("c")
        terminal.until(lambda: "will never be" in terminal.seen, "c asks first")
        assert field("state") == b"in_progress"
        terminal.press("y")
        terminal.until(lambda: field("state") == b"cancelling", "y cancels")
        terminal.press("q")
        terminal.until(lambda: terminal.process.poll() is not None, "q leaves")
        assert terminal.process.returncode == 0
        assert "very-secret" not in terminal.seen


def test_in_a_pipe_it_prints_once(batch_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top"]) == 0
    printed = capsys.readouterr().out
    assert batch_id in printed
    assert "queued 7 in 1 shard" in printed
    assert run(["top", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["queue"] == {"shards": 1, "lines_left": 7, "lines_open": 0, "in_flight": 0}
    assert [batch["id"] for batch in document["batches"]] == [batch_id]


def test_why_and_status_speak_of_it_too(batch_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", batch_id]) == 0
    assert "- No worker runs; start one with `bucketline work`." in capsys.readouterr().out
    assert run(["why", batch_id, "--json"]) == 0
    assert [cause["kind"] for cause in json.loads(capsys.readouterr().out)["causes"]] == ["no_workers", "queue"]
    assert run(["status", batch_id, "--json"]) == 3
    (entry,) = json.loads(capsys.readouterr().out)["batches"]
    assert (entry["lines_per_s"], entry["left_s"]) == (0.0, None)
    assert run(["why", "batch_unknown"]) == 2


def test_show_calls_no_line_open_while_redis_cannot_be_asked(
    batch_id: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest outcomes are in Redis alone."""
    assert run(["show", batch_id, "1"]) == 3
    assert "has no outcome yet" in capsys.readouterr().out
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", "redis://127.0.0.1:1/0")
    assert run(["show", batch_id, "1"]) == 4
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "Redis at redis://127.0.0.1:1/0 cannot be reached" in printed.err


def test_wait_is_quiet_in_a_pipe(batch_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wait", batch_id, "--timeout", "0.1"]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


def test_wait_shows_a_live_bar_on_a_terminal(batch_id: str) -> None:
    waiting = Terminal("wait", batch_id, "--timeout", "1")
    try:
        waiting.until(lambda: "0/7" in waiting.seen, "the bar")
        waiting.until(lambda: waiting.process.poll() is not None, "the timeout")
        assert waiting.process.returncode == 3
    finally:
        waiting.close()


@pytest.mark.parametrize("verb", ["status", "top"])
def test_a_look_fits_eighty_columns(
    batch_id: str, verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal folds what is longer, and a folded table cannot be read."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run([verb] if verb == "status" else [verb, "--once"]) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if "0%" in line and ("0/7" in line or "night.jsonl" in line)]
    assert (batch_id if verb == "status" else batch_id.removeprefix("batch_")[:8]) in row
