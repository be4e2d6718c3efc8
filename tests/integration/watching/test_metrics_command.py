"""Metrics as an operator has them: worker processes side by side, the inbox, and the monitor."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.embedded import EmbeddedRedis

LIMIT_S = 60.0


def two_free_ports() -> int:
    """A port that is free together with the one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def environment(redis_url: str, work_folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), "HOME": str(work_folder),
        "BUCKETLINE_REDIS_URL": redis_url, "BUCKETLINE_STORE": str(work_folder / "store"),
    }  # fmt: skip


@pytest.fixture
def start(environment: dict[str, str], work_folder: Path) -> Iterator[object]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "worker.cli", *arguments]
        with (work_folder / "log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, cwd=work_folder, stderr=log, stdout=log)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.send_signal(signal.SIGTERM)
    assert {process.wait(timeout=LIMIT_S) for process in running} == {0}


def page(port: int, path: str) -> str:
    """A page of the port, as soon as it is served."""
    ends_s = time.monotonic() + LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < ends_s, f"nothing on port {port}"
            time.sleep(0.05)


def test_each_process_has_a_port_of_its_own(start, work_folder: Path) -> None:
    port = two_free_ports()
    start("work", "--processes", "2", "--metrics-port", str(port))
    assert [page(port + n, "/healthz") for n in (0, 1)] == ["ok\n", "ok\n"]
    for n in (0, 1):
        text = page(port + n, "/metrics")
        assert "bucketline_redis_up 1.0" in text
        assert "bucketline_open_lines 0.0" in text
    events = [json.loads(line) for line in (work_folder / "log").read_text().splitlines()]
    assert {event["port"] for event in events if event["event"] == "metrics_served"} == {port, port + 1}


def test_the_inbox_shows_the_fleet_without_a_line_of_its_own(start) -> None:
    port = two_free_ports()
    start("inbox", "--metrics-port", str(port))
    text = page(port, "/metrics")
    assert "bucketline_queue_shards 0.0" in text
    assert "bucketline_open_lines" not in text
    assert "process_cpu_seconds_total" in text


def test_the_monitor_shows_the_fleet_and_outlives_its_redis(start, environment: dict[str, str], tmp_path: Path) -> None:
    """Who watches must be there when what it watches is not."""
    (tmp_path / "server").mkdir()
    port = two_free_ports()
    with EmbeddedRedis(tmp_path / "server") as server:
        environment["BUCKETLINE_REDIS_URL"] = server.url
        start("monitor", "--metrics-port", str(port))
        text = page(port, "/metrics")
        assert "bucketline_redis_up 1.0" in text
        assert "bucketline_workers 0.0" in text
    assert page(port, "/healthz") == "ok\n"
    text = page(port, "/metrics")
    assert "bucketline_redis_up 0.0" in text
    assert "bucketline_workers" not in text


def test_a_port_that_is_taken_is_said_in_a_sentence(environment: dict[str, str], work_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "worker.cli", "work", "--metrics-port", str(port)],
            env=environment, cwd=work_folder, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert f"Port {port} for metrics cannot be had" in done.stderr
    assert "Traceback" not in done.stderr
