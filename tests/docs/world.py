"""A place in which the pages' snippets run as they stand.

Comes in: a folder. Goes out: a shell in it with ``bucketline``, ``aws``, ``python`` and ``python3`` on PATH, the presets'
addresses pointing at simulated providers, a real Redis, a bucket, a worker at work. What a snippet leaves running is ended
with it; what the worker said is told where a snippet fails.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_S = 300  #: a block of five commands on a machine with other work; nothing waits so long where all is well
_AWS = '''\
"""Just enough of `aws s3 cp` for the pages: a file up, an object down or to standard output."""
import sys
import boto3
source, target = sys.argv[3:5]
client = boto3.client("s3")
if target.startswith("s3://"):
    bucket, _, key = target[5:].partition("/")
    client.upload_file(source, bucket, key)
else:
    bucket, _, key = source[5:].partition("/")
    waiter = client.get_waiter("object_exists")
    waiter.wait(Bucket=bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": 280})
    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    sys.stdout.buffer.write(body) if target == "-" else open(target, "wb").write(body)
'''


@dataclass
class World:
    """The place; ``environment`` is all that a snippet sees."""

    folder: Path
    environment: dict[str, str]
    running: list[subprocess.Popen[Any]] = field(default_factory=list)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script to its end, in a group of its own that ends with it.

        What it says goes to files: a process that it leaves running would hold a pipe open.
        """
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        with out.open("w") as stdout, err.open("w") as stderr:
            shell = subprocess.Popen(
                ["sh", "-eu", "-c", script],
                cwd=self.folder,
                env=self.environment,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                code = shell.wait(timeout=LIMIT_S)
            finally:
                end_group(shell)
        return subprocess.CompletedProcess(script, code, out.read_text(), err.read_text())

    def start(self, *command: str) -> None:
        with (self.folder / "service.log").open("a") as log:
            self.running.append(
                subprocess.Popen(
                    command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
                )
            )

    def told(self) -> str:
        """The last words of what runs beside the snippets."""
        log = self.folder / "service.log"
        return "\n".join(log.read_text().splitlines()[-20:]) if log.exists() else ""


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a process that leads its own session, and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    try:
        process.wait(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def a_world(folder: Path, redis_url: str, s3: dict[str, str], bucket: str) -> Iterator[World]:
    """Make the place and end it."""
    commands = folder / "bin"
    commands.mkdir()
    _command(commands / "bucketline", f'exec {sys.executable} -m worker.cli "$@"')
    _command(commands / "python", f'exec {sys.executable} "$@"')
    _command(commands / "python3", f'exec {sys.executable} "$@"')
    (folder / "aws.py").write_text(_AWS)
    _command(commands / "aws", f'exec {sys.executable} {folder}/aws.py "$@"')
    world = World(
        folder,
        {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            "BUCKETLINE_REDIS_URL": redis_url,
            "BUCKETLINE_STORE": f"s3://{bucket}",
            **dict.fromkeys(_KEYS, "sk-sim-alpha"),
            **s3,
        },
    )
    try:
        simulator = subprocess.Popen(
            [sys.executable, "-m", "worker.simulator", "--port", "0"],
            stdout=subprocess.PIPE,
            env=world.environment,
            start_new_session=True,
        )
        world.running.append(simulator)
        assert simulator.stdout is not None
        root = json.loads(simulator.stdout.readline())["providers"]["alpha"]["root_url"]
        (folder / "bucketline.toml").write_text(_configuration(root))
        world.start("bucketline", "work", "--inbox")
        yield world
    finally:
        for process in reversed(world.running):
            end_group(process)
        if simulator.stdout is not None:
            simulator.stdout.close()


_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MOONSHOT_API_KEY")


def _configuration(root: str) -> str:
    """The presets' names, at the simulator's address."""
    return "\n".join(
        f'[providers.{name}]\nbase_url = "{root}{path}"'
        for name, path in (("openai", "/v1"), ("moonshot", "/v1"), ("anthropic", ""), ("google", ""))
    )


def _command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def wait_for(path: Path) -> None:
    """Until a file is there."""
    end = time.monotonic() + LIMIT_S
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)
