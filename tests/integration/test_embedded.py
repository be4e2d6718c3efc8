"""The embedded server: real servers, real kills. Every binary this machine has is tried."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bucketline.connect import connect_redis
from bucketline.errors import ServiceUnavailable, UsageError
from worker import redis_binary
from worker.embedded import EmbeddedRedis
from worker.redis_binary import find_server, servers

BINARIES = list(servers())
DEADLINE_S = 20.0
HOLDER = """
import sys
from worker.embedded import EmbeddedRedis
server = EmbeddedRedis(sys.argv[1]).start()
print(server.url, server.pid, server._keeper.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has started a server in ``tmp_path/data`` and does nothing more."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def client(url: str) -> Redis:
    return Redis.from_url(url, decode_responses=True)


def line_to(path: Path) -> socket.socket:
    """A connection that ends when the server does."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(DEADLINE_S)
    line.connect(str(path))
    return line


@pytest.mark.parametrize("binary", BINARIES, ids=lambda path: f"{path.parent.parent.name}-{path.name}")
def test_what_was_written_is_there_after_a_restart(binary: Path, tmp_path: Path) -> None:
    """``run --resume`` finds its ledger again; each server that can be picked must keep that promise."""
    with EmbeddedRedis(tmp_path, binary=binary) as server, client(server.url) as redis:
        redis.set("answered", "12")
    with EmbeddedRedis(tmp_path) as server, client(server.url) as redis:
        assert redis.get("answered") == "12"


def test_nothing_is_ever_evicted_and_nobody_else_may_connect(tmp_path: Path) -> None:
    """An evicted ledger entry would be an answer paid twice; prompts' answers lie in the folder."""
    with EmbeddedRedis(tmp_path / "data") as server, client(server.url) as redis:
        settings: Any = redis.config_get("*")
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "everysec"
        assert settings["port"] == "0"
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "data" / "redis.sock").stat().st_mode) == 0o700


async def test_the_product_connects_to_it_like_to_any_other(tmp_path: Path) -> None:
    """One implementation of queue, ledger and limiter: only the address differs."""
    async with EmbeddedRedis(tmp_path / "with space & more") as server:
        redis = await connect_redis(server.url)
        assert await redis.ping()
        await redis.aclose()


def test_closing_ends_the_server_and_its_keeper(tmp_path: Path) -> None:
    """No process of ours is left on the user's machine, and no socket."""
    server = EmbeddedRedis(tmp_path).start()
    pids = [server.pid, server._keeper.pid]
    server.close()
    server.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (tmp_path / "redis.sock").exists()


def test_a_parent_killed_outright_takes_its_server_along(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """A crashed run leaves no server behind; what it had recorded is there for the next one."""
    url, _pid, _keeper = holder.stdout.readline().split()
    with client(url) as redis:
        redis.set("answered", "12")
    with line_to(tmp_path / "data" / "redis.sock") as line:
        holder.send_signal(signal.SIGKILL)
        assert line.recv(1) == b"", "the connection ends because the server has ended"
    with EmbeddedRedis(tmp_path / "data") as server, client(server.url) as redis:
        assert redis.get("answered") == "12"


def test_a_server_left_over_is_ended_by_the_next_run(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """Even if the keeper was killed as well, two servers never write one file."""
    _url, pid, keeper = holder.stdout.readline().split()
    os.kill(int(keeper), signal.SIGKILL)
    holder.kill()
    holder.wait()
    with line_to(tmp_path / "data" / "redis.sock") as line, EmbeddedRedis(tmp_path / "data") as server:
        assert line.recv(1) == b""
        assert server.pid != int(pid)
        with client(server.url) as redis:
            assert redis.ping()


def test_a_folder_in_use_is_refused_with_the_id_of_its_user(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """Two runs into one folder would mix two ledgers."""
    url, _pid, _keeper = holder.stdout.readline().split()
    with pytest.raises(UsageError, match=f"in use by another bucketline .process {holder.pid}."):
        EmbeddedRedis(tmp_path / "data").start()
    with client(url) as redis:
        assert redis.ping(), "the first one is left alone"


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    """Sockets end at about 100 bytes; people's folders do not."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with EmbeddedRedis(deep) as server, client(server.url) as redis:
        redis.set("answered", "12")
        path = Path(server._socket)
        assert path.parent != deep
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
    with EmbeddedRedis(deep) as server, client(server.url) as redis:
        assert redis.get("answered") == "12"


def test_a_machine_without_a_server_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(redis_binary, "_IN_WHEELS", ())
    with pytest.raises(ServiceUnavailable, match=r"install redis-server .* or give the address of one as redis_url"):
        find_server(search_path=str(tmp_path))


def test_a_server_on_the_path_is_preferred_unless_it_is_too_old_or_broken(tmp_path: Path) -> None:
    """A packaged server gets security updates; a version-manager's empty shim of that name must not stop a run."""
    scripts = {
        "old": ("redis-server", "echo 'Redis server v=5.0.14 sha=0'"),
        "broken": ("redis-server", "exit 127"),
        "good": ("valkey-server", "echo 'Valkey server v=8.1.0 sha=0'"),
    }
    for folder, (name, script) in scripts.items():
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    good = tmp_path / "good" / "valkey-server"
    assert next(servers(f"{tmp_path}/old:{tmp_path}/good")) == good
    assert next(servers(f"{tmp_path}/broken:{tmp_path}/good")) == good


def test_a_server_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    """A data file that cannot be read is the user's to decide about; it is named, never removed."""
    (tmp_path / "appendonly.aof").write_bytes(b"this is no append-only file\n" * 9)
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_bytes(b"nonsense\n")
    with pytest.raises(ServiceUnavailable, match=r"did not start \(.+\); see .*redis\.log"):
        EmbeddedRedis(tmp_path).start()
    EmbeddedRedis(tmp_path / "other").start().close()
