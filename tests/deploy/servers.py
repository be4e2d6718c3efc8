"""Servers started as a deployment starts them: from the files under ``deploy/``, on loopback.

Comes in: a folder and a server binary. Goes out: an address. Each is ended by its process id.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from worker.redis_binary import server_environment

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PASSWORDS = {"bucketline": "of-the-line", "watcher": "of-the-monitor"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis_of_the_files(binary: Path, folder: Path) -> Iterator[int]:
    """The server of ``deploy/redis``, with passwords in place of the zeros; its port."""
    acl = folder / "users.acl"
    users = (DEPLOY / "redis" / "users.acl").read_text()
    for name, password in PASSWORDS.items():
        digest = hashlib.sha256(password.encode()).hexdigest()
        users = users.replace(f"user {name} on #{'0' * 64}", f"user {name} on #{digest}")
    # Only the test may look at what was refused.
    acl.write_text(users + "user test on nopass ~* &* +@all\n")
    port = free_port()
    command = [
        binary, DEPLOY / "redis" / "redis.conf", "--port", str(port), "--bind", "127.0.0.1",
        "--dir", str(folder), "--aclfile", str(acl), "--daemonize", "no",
    ]  # fmt: skip
    with (folder / "redis.log").open("w") as log:
        server = subprocess.Popen(command, env=server_environment(), stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for_redis(port, folder)
        yield port
    finally:
        server.terminate()
        server.wait(timeout=20)


def scraped(port: int, wanted: str) -> str:
    """What a metrics port serves, once it has this line; the last of it in the failure."""
    end, said = time.monotonic() + 60, ""
    while wanted not in said.splitlines():
        assert time.monotonic() < end, said
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                said = answer.read().decode()
        except OSError as error:
            said = str(error)
            time.sleep(0.1)
    return said


def wait_for_redis(port: int, folder: Path) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            with Redis(port=port, username="test", password="x") as client:
                client.ping()
                return
        except NoConnection:
            assert time.monotonic() < end, (folder / "redis.log").read_text()
            time.sleep(0.02)
