"""Other clients, each installed by pip into an environment of its own, outside the tree.

Comes in: nothing. Goes out: for each client that installs here its Python and version, for each other a sentence. They
are kept in the user's cache folder, so only the first run installs. Called by ``line``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.peers import PACKAGES

__all__ = ["FOLDER", "Client", "installed"]

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bucketline-bench"


@dataclass(frozen=True, slots=True)
class Client:
    """An installed client."""

    python: Path
    package: str
    version: str


def installed(folder: Path = FOLDER) -> dict[str, Client]:
    """The clients that install here, by name; what does not is told to stderr and left out."""
    found: dict[str, Client] = {}
    for name, package in PACKAGES.items():
        home = folder / name
        client = _look(home, package) or _install(home, package)
        if client is None:
            print(f"{package} does not install here; it is left out.", file=sys.stderr, flush=True)
        else:
            found[name] = client
    return found


def _look(home: Path, package: str) -> Client | None:
    distribution = package.partition("[")[0]
    ask = f"from importlib.metadata import version; print(version({distribution!r}))"
    python = home / "bin" / "python"
    try:
        said = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return Client(python, distribution, said.stdout.strip())


def _install(home: Path, package: str) -> Client | None:
    shutil.rmtree(home, ignore_errors=True)
    print(f"installing {package} …", file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True)
        subprocess.run(
            [home / "bin" / "python", "-m", "pip", "install", "-q", package], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(home, ignore_errors=True)
        return None
    return _look(home, package)
