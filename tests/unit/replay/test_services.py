"""Processes and servers of the runner: they must do what a step says, and be gone afterwards."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.replay.child import Child
from tests.replay.services import RedisServer, S3Server

_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def _start(folder: Path, code: str) -> Child:
    return Child([sys.executable, "-c", code], folder=folder, name="child", env=dict(os.environ))


async def _first_word(child: Child) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        said = child.said()[0].strip()
        if said:
            return said
        with suppress(TimeoutError):
            await child.wait(0.02)
    raise TimeoutError(child.said())


def _gone(pid: int) -> bool:
    """Whether a process has ended; one that waits to be reaped by somebody else has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_how_a_process_ended_is_known(tmp_path: Path) -> None:
    """An exit code as it is, a signal as a negative number; what we ended did not end by itself."""
    own = _start(tmp_path, "import sys; print('out'); sys.exit(3)")
    assert await own.wait(10) == 3
    assert own.ended_itself
    assert own.said()[0] == "out\n"
    own.close()
    killed = _start(tmp_path, "import time; time.sleep(60)")
    assert killed.exit is None
    killed.signal(signal.SIGKILL)
    assert await killed.wait(10) == -signal.SIGKILL
    assert not killed.ended_itself
    killed.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="descendants are found through /proc")
async def test_closing_ends_descendants_in_sessions_of_their_own(tmp_path: Path) -> None:
    """A worker's own children must not outlive the case, however they were started."""
    child = _start(tmp_path, _PARENT)
    grandchild = int(await _first_word(child))
    child.measure()
    assert child.rss_mb_max is not None
    assert child.rss_mb_max > 5
    child.close()
    deadline = time.monotonic() + 10
    while not _gone(grandchild) and time.monotonic() < deadline:
        pass
    assert _gone(grandchild)
    child.close()


async def test_a_process_that_ignores_the_request_is_ended_all_the_same(tmp_path: Path) -> None:
    """SIGTERM first, then not asking any more."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    child = _start(tmp_path, code)
    await _first_word(child)
    await child.end(0.1)
    assert child.exit == -signal.SIGKILL


async def test_a_stopped_redis_comes_back_with_its_data(tmp_path: Path) -> None:
    """On the same address; in between nobody answers there."""
    server = RedisServer(tmp_path)
    try:
        await server.start()
        with Redis.from_url(server.url) as client:
            client.set("kept", "yes")
            url = server.url
            await server.stop()
            with pytest.raises(RedisError):
                client.ping()
            await server.start()
            assert server.url == url
            assert client.get("kept") == b"yes"
    finally:
        server.close()


async def test_the_s3_server_is_up_when_it_says_so(tmp_path: Path) -> None:
    """And its process is gone when it is closed."""
    async with S3Server(tmp_path) as server:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=server.address,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_bucket(Bucket="one")
        assert [each["Name"] for each in client.list_buckets()["Buckets"]] == ["one"]
        client.close()
