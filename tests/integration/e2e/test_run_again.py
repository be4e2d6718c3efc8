"""A run into a folder that is no folder, or that holds what was paid for already: said in a sentence, nothing lost."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from tests.integration.e2e.conftest import Command, Simulation, configure
from tests.integration.e2e.test_resume import SLOW, until, write_lines


@pytest.fixture
def ready(command: Command, simulate: Callable[..., Simulation]) -> Command:
    """Five lines of a model without a price, and a provider that answers at once."""
    simulation = simulate("--providers", "1")
    configure(command.folder, simulation)
    command.env["SIM_KEY"] = next(iter(simulation.addresses.values()))["keys"]["main"]
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    rows = [
        json.dumps({"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body})
        for n in range(5)
    ]
    (command.folder / "in.jsonl").write_text("\n".join(rows) + "\n")
    return command


def test_a_finished_run_is_neither_paid_again_nor_written_over(ready: Command) -> None:
    ready.run("run", "in.jsonl", "-o", "out")
    paid = (ready.folder / "out" / "output.jsonl").read_bytes()
    del ready.env["SIM_KEY"]  # whatever was sent now would fail

    again = ready.run("run", "in.jsonl", "-o", "out", "--resume")
    assert "nothing was sent" in again.stderr
    assert "5 answered" in again.stderr
    over = ready.run("run", "in.jsonl", "-o", "out", code=2)
    assert "out holds the results of in.jsonl; give another folder" in over.stderr
    (ready.folder / "in.jsonl").rename(ready.folder / "other.jsonl")
    ready.run("run", "other.jsonl", "-o", "out", "--resume", code=2)
    assert (ready.folder / "out" / "output.jsonl").read_bytes() == paid


def test_a_file_that_changed_since_is_not_taken_for_the_one_that_was_answered(ready: Command) -> None:
    ready.run("run", "in.jsonl", "-o", "out")
    source = ready.folder / "in.jsonl"
    source.write_text(source.read_text().replace('"hi"', '"ho"'))
    said = ready.run("run", "in.jsonl", "-o", "out", "--resume", code=2).stderr
    assert "out holds the results of in.jsonl as it was; give another folder" in said


def test_a_manifest_of_somebody_else_is_not_written_over(ready: Command) -> None:
    (ready.folder / "out").mkdir()
    (ready.folder / "out" / "manifest.json").write_text('{"name": "a web page"}')
    said = ready.run("run", "in.jsonl", "-o", "out", code=2).stderr
    assert "out holds a manifest.json that is not a run's" in said
    assert (ready.folder / "out" / "manifest.json").read_text() == '{"name": "a web page"}'


def test_what_a_finished_run_had_no_time_to_remove_is_not_run_again(ready: Command) -> None:
    ready.run("run", "in.jsonl", "-o", "out")
    left = ready.folder / "out" / ".bucketline"
    (left / "redis").mkdir(parents=True)
    assert "nothing was sent" in ready.run("run", "in.jsonl", "-o", "out", "--resume").stderr
    assert not left.exists()


@pytest.mark.parametrize("output", ["in.jsonl", "in.jsonl/out", "/proc/nowhere"])
def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(ready: Command, output: str) -> None:
    said = ready.run("run", "in.jsonl", "-o", output, code=2).stderr
    assert f"The folder {output} cannot be made" in said


def test_run_takes_the_options_that_its_own_errors_name(ready: Command) -> None:
    config = ready.folder / "bucketline.toml"
    config.write_text(config.read_text().split("[prices")[0])
    refused = ready.run("run", "in.jsonl", "-o", "out", "--max-cost", "5", code=2)
    assert "--unpriced allow" in refused.stderr
    ready.run("run", "in.jsonl", "-o", "out", "--max-cost", "5", "--unpriced", "allow")
    ready.run("run", "in.jsonl", "-o", "two", "--duplicates", "drop", code=2)
    assert not (ready.folder / "two").exists()


def test_the_second_interrupt_says_how_to_go_on_too(command: Command, simulate: Callable[..., Simulation]) -> None:
    (command.folder / "sim.toml").write_text(SLOW.replace("0.12", "5.0"))
    simulation = simulate("--config", str(command.folder / "sim.toml"))
    configure(command.folder, simulation)
    command.env["SIM_KEY"] = "sk-sim-alpha"
    write_lines(command.folder / "in.jsonl")
    running = command.start("run", "in.jsonl", "-o", "out")
    (said,) = command.folder.glob("stderr-*")
    until(lambda: simulation.books()["totals"]["calls"] > 0)
    running.send_signal(signal.SIGINT)
    until(lambda: "Stopping" in said.read_text())
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=30) == 130
    assert "Stopped at once" in said.read_text()
    assert "--resume" in said.read_text()
