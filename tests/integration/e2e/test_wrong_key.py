"""A wrong key is the first thing that goes wrong for a newcomer: it must be said, not waited out in silence."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

from tests.integration.e2e.conftest import Command, Simulation, configure


def test_a_run_that_waits_for_a_person_says_so_and_goes_on_with_the_right_key(
    command: Command, simulate: Callable[..., Simulation]
) -> None:
    simulation = simulate("--providers", "1")
    configure(command.folder, simulation)
    command.env["SIM_KEY"] = "sk-wrong"
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    rows = [
        json.dumps({"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body})
        for n in range(5)
    ]
    (command.folder / "in.jsonl").write_text("\n".join(rows) + "\n")
    waiting = command.start("run", "in.jsonl", "-o", "out")
    (said,) = command.folder.glob("stderr-*")
    end = time.monotonic() + 60
    while "refused the key" not in said.read_text():
        assert waiting.poll() is None
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.1)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(timeout=60) == 130
    assert said.read_text().count("refused the key") == 1
    assert "sk-wrong" not in said.read_text()
    command.env["SIM_KEY"] = next(iter(simulation.addresses.values()))["keys"]["main"]
    command.run("run", "in.jsonl", "-o", "out", "--resume")


def test_a_run_that_fails_says_why_and_where_to_read_on(command: Command, simulate: Callable[..., Simulation]) -> None:
    """A screen of noughts alone would send a newcomer looking for a bug."""
    configure(command.folder, simulate("--providers", "1"))
    command.env["SIM_KEY"] = "sk-wrong"
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (command.folder / "in.jsonl").write_text(json.dumps(row) + "\n")
    said = command.run("run", "in.jsonl", "-o", "out", "--on-quota", "fail", code=1).stderr
    (failed,) = map(json.loads, (command.folder / "out" / "errors.jsonl").read_text().splitlines())
    assert f"Not answered: 1 {failed['error']['code']}. errors.jsonl says" in said
