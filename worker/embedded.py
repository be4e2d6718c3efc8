"""A real Redis server of our own, for ``run``, ``demo`` and the tests.

Comes in: a folder that is ours alone. Goes out: the address of a server that keeps its data there, on a private
socket, and that ends when we do, however we end. The next start in the same folder finds the data again. Called by
``worker.local``; a deployment gives ``redis_url`` and never comes here. It knows nothing of the queue or the ledger.

    FOLDER               0700; the append-only file, redis.log, redis.sock
    FOLDER/lock          held (flock) by the process that uses the folder, its id inside
    FOLDER/server.json   process id, socket and binary of the server that was started last
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError

from bucketline.errors import ServiceUnavailable, UsageError
from worker.redis_binary import find_server, server_environment, server_runs

__all__ = ["EmbeddedRedis"]

_START_S = 10.0  #: from start to the first answer
_LOAD_S = 600.0  #: the same, while a large append-only file is read back
_STOP_S = 20.0  #: from asking a server to end until it is forced to
_POLL_S = 0.005

# Waits for the end of its standard input, a pipe that we hold open: it comes with our death of any kind, SIGKILL too,
# on every Unix, and does not hang on the thread that started the server (as PR_SET_PDEATHSIG does). Workers forked
# from us hold the pipe as well, so the server outlives us exactly as long as they do. A line on the pipe means that
# we have ended the server ourselves.
_KEEPER = """
read -r _ && exit 0
kill -TERM "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 "$1" 2>/dev/null || exit 0; done
kill -KILL "$1"
"""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What ``server.json`` says."""

    pid: int
    socket: Path
    binary: Path

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"pid": self.pid, "socket": str(self.socket), "binary": str(self.binary)}))

    @classmethod
    def read(cls, path: Path) -> _Mark | None:
        try:
            said = json.loads(path.read_text())
            return cls(int(said["pid"]), Path(said["socket"]), Path(said["binary"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


class EmbeddedRedis:
    """A server with its data in ``folder``; ``with`` or ``async with`` it, or ``start`` and ``close`` it.

    ``binary`` is the server to use; absent, the one the folder was last used with, else ``find_server``.
    """

    def __init__(self, folder: Path | str, *, binary: Path | None = None) -> None:
        self.folder = Path(folder).absolute()
        self._log = self.folder / "redis.log"
        self._binary = binary
        self._lock: int | None = None
        self._socket: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """``unix://…``, for any Redis client on this machine that runs as this user."""
        if self._socket is None:
            raise RuntimeError("the embedded Redis has not been started")
        return f"unix://{quote(str(self._socket))}?db=0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._server is None:
            raise RuntimeError("the embedded Redis has not been started")
        return self._server.pid

    def start(self) -> Self:
        """Start and wait for the first answer.

        Raises UsageError when another process uses the folder, ServiceUnavailable when no server is found or it does
        not come up.
        """
        if os.name != "posix":
            raise ServiceUnavailable(
                "The embedded Redis needs Linux or macOS; here, give the address of one as redis_url."
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._take_lock()
        try:
            last = _Mark.read(self.folder / "server.json")
            if last is not None:
                _end_left_over(last)
            # Data is read back by the version that wrote it; an older one may refuse the file.
            known = last.binary if last is not None and server_runs(last.binary) else None
            self._run(self._binary or known or find_server())
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the server, its data on disk, and give the folder free. May be called twice."""
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        # Only now: the keeper stands by in case we die while waiting.
        if self._keeper is not None:
            self._keeper.communicate(b"over\n")
            self._keeper = None
        if self._socket is not None:
            _remove_socket(self._socket)
            self._socket = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _take_lock(self) -> None:
        import fcntl  # where there is none, ``start`` has said so

        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise UsageError(
                f"{self.folder} is in use by another bucketline (process {owner}); wait for it or give another folder."
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        self._lock = lock

    def _run(self, binary: Path) -> None:
        self._socket = _socket_path(self.folder)
        with self._log.open("ab") as log:
            log_start_bytes = log.tell()
            # A session of its own: Ctrl-C in the terminal is for us, who still have answers to record.
            self._server = subprocess.Popen(
                [binary, *_options(self.folder, self._socket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=server_environment(),
                start_new_session=True,
            )
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "bucketline-keeper", str(self._server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=server_environment(),
            start_new_session=True,
        )
        _Mark(self._server.pid, self._socket, binary).write(self.folder / "server.json")
        self._wait_for_answer(self._server, self._socket, log_start_bytes)

    def _wait_for_answer(self, server: subprocess.Popen[bytes], path: Path, log_start_bytes: int) -> None:
        started_s = time.monotonic()
        patience_s = _START_S
        while time.monotonic() - started_s < patience_s:
            if server.poll() is not None:
                said = self._log.read_bytes()[log_start_bytes:].decode(errors="replace").split("\n")
                words = next((line.strip(" .") for line in reversed(said) if line.strip()), "it said nothing")
                raise ServiceUnavailable(f"The embedded Redis did not start ({words}); see {self._log}.")
            try:
                with Redis(unix_socket_path=str(path), socket_timeout=5.0, socket_connect_timeout=1.0) as client:
                    client.ping()
                return
            except BusyLoadingError:
                patience_s = _LOAD_S
            except (RedisError, OSError):
                pass
            time.sleep(_POLL_S)
        raise ServiceUnavailable(f"The embedded Redis did not answer within {patience_s:.0f} s; see {self._log}.")


def _options(folder: Path, path: Path) -> list[str]:
    options = {
        "--port": "0",
        "--unixsocket": str(path),
        "--unixsocketperm": "700",
        "--dir": str(folder),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    return [word for pair in options.items() for word in pair]


def _end_left_over(last: _Mark) -> None:
    """End the server of a process that died here, if it still stands.

    We hold the folder's lock, so nobody uses that server. It is asked through its own socket and never killed by its
    process id: by now the number may be another process's.
    """
    deadline_s = time.monotonic() + _STOP_S
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_STOP_S)
            line.connect(str(last.socket))
            line.sendall(b"SHUTDOWN\r\n")
            while line.recv(4096):  # the connection ends with the process; an answer is a refusal
                if time.monotonic() > deadline_s:
                    raise TimeoutError
                time.sleep(_POLL_S)
                line.sendall(b"SHUTDOWN\r\n")
    except TimeoutError:
        raise ServiceUnavailable(
            f"The Redis server of an earlier run (process {last.pid}) does not end; end it, then try again."
        ) from None
    except OSError:
        pass  # nobody there
    _remove_socket(last.socket)


def _socket_path(folder: Path) -> Path:
    """A path that a socket can be bound to: in the folder, else in a short private folder.

    Not every folder will do: a socket's path ends at about 100 bytes, and folders shared with a virtual machine know
    no sockets at all. So one is bound, and removed again.
    """
    path = folder / "redis.sock"
    if _bindable(path):
        return path
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  # mkdtemp's folder is private
        path = Path(tempfile.mkdtemp(prefix="bucketline-", dir=base), "redis.sock")
        if _bindable(path):
            return path
        path.parent.rmdir()
    raise ServiceUnavailable(f"No socket can be made in {folder}, {tempfile.gettempdir()} or /tmp; give redis_url.")


def _bindable(path: Path) -> bool:
    path.unlink(missing_ok=True)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.bind(str(path))
    except OSError:
        return False
    path.unlink(missing_ok=True)
    return True


def _remove_socket(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        if path.parent.name.startswith("bucketline-"):
            path.parent.rmdir()
