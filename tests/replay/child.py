"""A process of ours: started in a group of its own, its output in files, ended in every event.

Comes in: a command line. Goes out: how it ended, what it said, how much memory it and its descendants took. The process is only
reaped when we close it, so its id stays ours until then and a signal can reach nobody else. Whatever is still open
when the interpreter ends is closed then.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Child"]

_POLL_S = 0.02
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_open: set[Child] = set()


class Child:
    """One running command. ``out`` and ``err`` are the files it writes to."""

    def __init__(self, command: Sequence[str], *, folder: Path, name: str, env: Mapping[str, str]) -> None:
        self.out = folder / f"{name}.out"
        self.err = folder / f"{name}.err"
        self.rss_mb_max: float | None = None
        self._signalled: set[int] = set()
        self._family: dict[int, int] = {}  #: descendants seen, with their start times
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._exit: int | None = None
        _open.add(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit(self) -> int | None:
        """The exit code, the negative signal number, or None while it runs."""
        if self._exit is None:
            seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if seen is not None:
                self._exit = seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status
        return self._exit

    @property
    def ended_itself(self) -> bool:
        """Whether it is over and nobody here asked for that."""
        return self.exit is not None and not self._signalled

    def said(self) -> tuple[str, str]:
        """What it has written to standard output and standard error."""
        return self.out.read_text("utf-8", "replace"), self.err.read_text("utf-8", "replace")

    async def wait(self, patience_s: float) -> int:
        """Its exit code. Raises TimeoutError when it still runs after ``patience_s``."""
        deadline = time.monotonic() + patience_s
        while (code := self.exit) is None:
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(_POLL_S)
        return code

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to all that descends from it."""
        if self._process.returncode is not None:
            return
        self._signalled.add(number)
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            elif self.exit is None:
                os.kill(self.pid, number)
        if group:
            for pid, started in self._family.items():
                if _stat(pid)[1:2] == [started]:  # the same process, not a later one of that number
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)

    async def end(self, grace_s: float) -> None:
        """Ask it to end, wait ``grace_s``, then end it and all that descends from it."""
        self.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await self.wait(grace_s)
        self.close()

    def close(self) -> None:
        """End it and its descendants at once, and reap it. May be called twice."""
        _ = self.exit
        self.measure()
        self.signal(signal.SIGKILL, group=True)
        reaped = self._process.wait()
        self._exit = reaped if self._exit is None else self._exit
        _open.discard(self)

    def measure(self) -> None:
        """Note the memory that it and its descendants take now, and who they are; nothing where there is no /proc."""
        if self._process.returncode is not None:
            return
        parents: dict[int, list[int]] = {}
        stats = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
        for pid, stat in stats.items():
            if stat:
                parents.setdefault(stat[0], []).append(pid)
        family = [self.pid]
        for pid in family:
            family.extend(parents.get(pid, ()))
        self._family.update({pid: stats[pid][1] for pid in family[1:] if stats.get(pid)})
        used_mb = sum(stats[pid][2] for pid in family if stats.get(pid)) * _PAGE_MB
        if used_mb:
            self.rss_mb_max = max(self.rss_mb_max or 0.0, used_mb)


def _stat(pid: int) -> list[int]:
    """Parent, start time and resident pages of a process; empty where it or /proc is not there."""
    try:
        # The name in parentheses may hold anything, so the fields are counted from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
        return [int(fields[1]), int(fields[19]), int(fields[21])]
    except (OSError, ValueError, IndexError):
        return []


@atexit.register
def _close_all() -> None:
    for child in list(_open):
        child.close()
