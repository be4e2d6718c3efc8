"""A hundred thousand lines of 1 KB: what submit holds in memory while it passes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.integration.e2e.conftest import Command, Simulation, configure

LINES = 100_000
SUBMIT_BYTES = 200 * 1024 * 1024


def write_input(path: Path, lines: int) -> None:
    filler = "lorem ipsum " * 70
    with path.open("w") as file:
        for number in range(lines):
            body = {"model": "alpha-small", "messages": [{"role": "user", "content": f"{number} {filler}"}]}
            row = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(row) + "\n")


def test_submit_holds_a_fifth_of_a_gigabyte_at_the_most(
    command: Command, simulate: Callable[..., Simulation], redis_url: str
) -> None:
    simulation = simulate("--providers", "1")
    configure(command.folder, simulation, redis_url=redis_url, store=str(command.folder / "store"))
    command.env["SIM_KEY"] = "any"
    write_input(command.folder / "in.jsonl", LINES)
    submitted = command.json("submit", "in.jsonl")
    assert submitted["lines"] == LINES
    assert peak_bytes(command) < SUBMIT_BYTES


def peak_bytes(command: Command) -> int:
    """The peak of a submit alone: the same once more, under a process that reports its only child."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    line = command.line(["submit", "in.jsonl"])
    done = subprocess.run(
        [line[0], "-c", code, *line],
        cwd=command.folder,
        env=command.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) * 1024
