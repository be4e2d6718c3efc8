"""A local run that was interrupted goes on, and pays for nothing twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.e2e.conftest import Command, Simulation, configure, results_in

LINES = 300
IN_FLIGHT = 10
SLOW = """
seed = 5
[providers.alpha]
keys = { main = "sk-sim-alpha" }
weather = { latency_s = 0.12, sigma = 0.2 }
[providers.alpha.models.m]
"""


def write_lines(path: Path) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": ""}]}
    rows = []
    for number in range(LINES):
        body["messages"] = [{"role": "user", "content": f"say {number}"}]
        rows.append(json.dumps({"custom_id": number, "method": "POST", "url": "/v1/chat/completions", "body": body}))
    path.write_text("\n".join(rows))
    return path.read_bytes()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_resume_asks_only_what_was_not_recorded(
    command: Command, simulate: Callable[..., Simulation], how: signal.Signals
) -> None:
    (command.folder / "sim.toml").write_text(SLOW)
    simulation = simulate("--config", str(command.folder / "sim.toml"))
    configure(command.folder, simulation)
    config = command.folder / "bucketline.toml"
    config.write_text(config.read_text().replace("concurrency = 200", f"concurrency = {IN_FLIGHT}"))
    command.env["SIM_KEY"] = "sk-sim-alpha"
    source = write_lines(command.folder / "in.jsonl")

    first = command.start("run", "in.jsonl", "-o", "out")
    until(lambda: simulation.books()["totals"]["delivered"] >= LINES // 3)
    first.send_signal(how)
    code = first.wait(timeout=60)
    assert code == (130 if how is signal.SIGINT else -9)
    assert not (command.folder / "out" / "manifest.json").exists()
    asked_before = simulation.books()["totals"]["calls"]
    assert asked_before < LINES

    refused = command.run("run", "in.jsonl", "-o", "out", code=2)
    assert "--resume" in refused.stderr
    command.run("run", "in.jsonl", "-o", "out", "--resume")
    results = results_in(command.folder / "out")
    results.check_against(source)
    assert len(results.output) == LINES
    again = simulation.books()["totals"]["calls"] - LINES
    # An orderly stop repeats nothing; a kill at most what was in flight or not yet written to the append-only file.
    assert again <= (0 if how is signal.SIGINT else IN_FLIGHT * 10)


def until(holds: Callable[[], bool], deadline_s: float = 60.0) -> None:
    """Wait for something that other processes bring about."""
    ends = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends, "it did not come about in time"
        time.sleep(0.05)
