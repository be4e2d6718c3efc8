"""Two machines, as network namespaces: one is cut off in the middle of a batch and comes back.

The hub has Redis, an S3 server and a simulated provider; each worker has a cable of its own to it. Needs root and
`ip netns`; elsewhere it is skipped with a word. Nothing leaves the namespaces, which the test makes and takes away.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.servers import ROOT
from tests.integration.e2e.conftest import results_in
from worker.redis_binary import find_server, server_environment

LINES = 3_000
LEASE_S = 3
LIMIT_S = 120
SIMULATOR = """
host = "0.0.0.0"
one_port = 9100
[providers.alpha]
limits = { concurrency = 150 }
weather = { latency_s = 0.5, sigma = 0.3 }
[providers.alpha.models."*"]
prices = { input = "1.00", output = "3.00" }
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str | None:
    """Why this machine cannot do it, in a word."""
    if shutil.which("ip") is None:
        return "there is no ip command"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"bl{os.getpid()}probe"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces are not allowed here"
    ip("netns", "delete", name)
    return None


@dataclass
class Network:
    """A hub and two machines. Addresses: 10.77.N.1 is the hub as machine N sees it."""

    folder: Path
    prefix: str = field(default_factory=lambda: f"bl{os.getpid()}")
    running: list[subprocess.Popen[Any]] = field(default_factory=list)

    def name(self, machine: int | str) -> str:
        return f"{self.prefix}{machine}"

    def start(self, machine: int | str, *command: str, **env: str) -> subprocess.Popen[Any]:
        log = self.folder / f"log-{machine}-{len(self.running)}"
        with log.open("w") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name(machine), *command],
                cwd=self.folder, env=self.environment(machine) | env, stdout=out, stderr=out,
            )  # fmt: skip
        self.running.append(process)
        return process

    def command(self, machine: int, *arguments: str) -> Any:
        line = ["ip", "netns", "exec", self.name(machine), sys.executable, "-m", "worker.cli", *arguments]
        done = subprocess.run(
            line,
            cwd=self.folder,
            env=self.environment(machine),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    def environment(self, machine: int | str) -> dict[str, str]:
        hub = f"10.77.{machine}.1" if isinstance(machine, int) else "127.0.0.1"
        return {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder),
            "BUCKETLINE_CONFIG": str(self.folder / f"bucketline-{machine}.toml"),
            "AWS_ENDPOINT_URL_S3": f"http://{hub}:9200", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def cut(self, machine: int) -> None:
        ip("-n", self.name("hub"), "link", "set", f"to{machine}", "down")

    def join(self, machine: int) -> None:
        ip("-n", self.name("hub"), "link", "set", f"to{machine}", "up")


@contextmanager
def a_network(folder: Path) -> Iterator[Network]:
    network = Network(folder)
    with ExitStack() as stack:
        for machine in ("hub", 1, 2):
            ip("netns", "add", network.name(machine))
            stack.callback(ip, "netns", "delete", network.name(machine))
            ip("-n", network.name(machine), "link", "set", "lo", "up")
        for machine in (1, 2):
            hub, far = network.name("hub"), network.name(machine)
            ip("link", "add", f"to{machine}", "netns", hub, "type", "veth", "peer", "name", "cable", "netns", far)
            ip("-n", hub, "address", "add", f"10.77.{machine}.1/24", "dev", f"to{machine}")
            ip("-n", far, "address", "add", f"10.77.{machine}.2/24", "dev", "cable")
            ip("-n", hub, "link", "set", f"to{machine}", "up")
            ip("-n", far, "link", "set", "cable", "up")
        stack.callback(end, network)
        yield network


def end(network: Network) -> None:
    for process in reversed(network.running):
        process.kill()
        process.wait()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    (tmp_path / "redis").mkdir()
    (tmp_path / "simulator.toml").write_text(SIMULATOR)
    for machine in (1, 2):
        (tmp_path / f"bucketline-{machine}.toml").write_text(
            f'redis_url = "redis://10.77.{machine}.1:6379/0"\nstore = "s3://line/prefix"\ndefault_provider = "alpha"\n'
            f"[worker]\nlease_s = {LEASE_S}\n"
            f'[providers.alpha]\nbase_url = "http://10.77.{machine}.1:9100/alpha/v1"\nconcurrency = 100\n'
            '[prices."alpha/m"]\ninput = "1.00"\noutput = "3.00"\n'
        )
    with a_network(tmp_path) as made:
        server = [
            str(find_server()),
            "--port",
            "6379",
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--dir",
            str(tmp_path / "redis"),
        ]
        made.start("hub", *server, "--save", "", **server_environment())
        made.start("hub", sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", "9200")
        made.start("hub", sys.executable, "-m", "worker.simulator", "--config", str(tmp_path / "simulator.toml"))
        create = (
            "import boto3, time\nfor _ in range(100):\n"
            "  try: boto3.client('s3').create_bucket(Bucket='line'); break\n"
            "  except Exception: time.sleep(0.2)\n"
        )
        assert made.start("hub", sys.executable, "-c", create).wait(timeout=60) == 0
        yield made


@pytest.mark.slow
def test_a_machine_that_is_cut_off_and_comes_back_costs_no_line(network: Network) -> None:
    """Its shards are worked off by the other one; what it brings late counts only where nothing is recorded yet."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 60}
    rows = (
        json.dumps({"custom_id": n, "method": "POST", "url": "/v1/chat/completions", "body": body})
        for n in range(LINES)
    )
    (network.folder / "in.jsonl").write_text("\n".join(rows) + "\n")
    workers = [network.start(machine, sys.executable, "-m", "worker.cli", "work") for machine in (1, 2)]
    batch = network.command(2, "submit", "in.jsonl", "--no-check-keys")["id"]

    def done() -> int:
        return int(network.command(2, "status", batch, "--json")["batches"][0]["counts"]["completed"])

    until(lambda: done() > LINES // 10)
    network.cut(1)
    at_cut = done()
    time.sleep(2 * LEASE_S)  # the promise is about time: longer than a lease
    while_away = done()
    assert while_away > at_cut, "the other machine stood still"
    network.join(1)
    network.command(2, "wait", batch)
    network.command(2, "results", batch, "-o", "answers")
    network.command(2, "verify", batch)
    results_in(network.folder / "answers").check_against((network.folder / "in.jsonl").read_bytes())
    assert [worker.poll() for worker in workers] == [None, None]
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.2)
