"""The product as its users have it: the command in its own process, simulated providers in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.e2e.results import Results

LIMIT_S = 120  #: no step of these tests may take longer


@dataclass
class Command:
    """Runs ``bucketline`` in a folder of its own, with only the variables that it is given."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.line(arguments),
            check=False,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, code=code).stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        with (self.folder / f"stderr-{os.urandom(3).hex()}").open("w") as errors:
            return subprocess.Popen(
                self.line(arguments),
                cwd=self.folder,
                env=self.environment(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
            )

    def line(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "worker.cli", *arguments]

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return {**kept, "PYTHONPATH": str(Path(__file__).parents[3]), **self.env}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@dataclass(frozen=True)
class Simulation:
    """A running simulator: its addresses and its books."""

    process: subprocess.Popen[str]
    addresses: dict[str, Any]

    def books(self, **query: int) -> Any:
        import urllib.request

        root = next(iter(self.addresses.values()))["root_url"]
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        with urllib.request.urlopen(f"{root}/__books?{asked}", timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulation]]:
    """Start simulators as ``python -m worker.simulator`` with given arguments; ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Simulation:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.simulator", *arguments], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        return Simulation(process, json.loads(process.stdout.readline())["providers"])

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=20)
        assert process.stdout is not None
        process.stdout.close()


def configure(folder: Path, simulation: Simulation, **more: Any) -> None:
    """A configuration in which one simulated provider serves every model name, at a known price."""
    name, address = next(iter(simulation.addresses.items()))
    lines = [
        *(f"{key} = {json.dumps(value)}" for key, value in more.items()),
        f'default_provider = "{name}"',
        f"[providers.{name}]",
        f'wire = "{address["wire"]}"',
        f'base_url = "{address["base_url"]}"',
        'api_key_env = "SIM_KEY"',
        "concurrency = 200",
    ]
    (folder / "bucketline.toml").write_text("\n".join(lines) + "\n")


def results_in(folder: Path) -> Results:
    return Results.read(folder)
