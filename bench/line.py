"""The whole line beside the bare loop and beside other clients: every figure in one run, on one server and one file.

    python -m bench.line                    every table; writes bench/results.md (about half an hour)
    python -m bench.line --quick            the ratios alone, without other clients (two minutes)
    python -m bench.line --only cpu little  some of: cpu little submit merge flat two idle
    python -m bench.line --million          flat with a million lines too

Rounds are interleaved: each client once, then each once more in the opposite order, so that what else the machine does
falls on all alike. A figure is min / median / max. CPU is user and system time of one process; walls are told only where
the figure is a time. See ``ours`` for what is measured of us, ``bare`` for the yardstick, ``stand`` for the server.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.figures import Figures
from bench.peers import PACKAGES

FIGURES = ("cpu", "little", "submit", "merge", "flat", "two", "idle")
RESULTS = Path(__file__).with_name("results.md")
ENVIRONMENTS = Path(".cache/bench")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The whole line beside the bare loop and other clients.")
    parser.add_argument("--quick", action="store_true", help="two minutes: the ratios alone")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="FIGURE")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 5; quick: 3)")
    parser.add_argument("--lines", type=int, help="lines of the CPU figure (default: 20,000; quick: 6,000)")
    parser.add_argument("--million", action="store_true", help="flat: a million lines too")
    parser.add_argument("--no-peers", action="store_true", help="ours and the bare loop alone")
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where other clients are installed")
    return parser.parse_args()


def installed(folder: Path) -> dict[str, tuple[Path, str]]:
    """The clients that install here: name → Python and version."""
    found = {}
    for name, package in PACKAGES.items():
        python = folder / name / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
            done = subprocess.run([python, "-m", "pip", "install", "-q", package], check=False, capture_output=True)
            if done.returncode:
                print(f"{package} does not install here; it is left out.", file=sys.stderr)
                shutil.rmtree(folder / name)
                continue
        ask = f"from importlib.metadata import version; print(version({package!r}))"
        said = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
        found[name] = (python, said.stdout.strip())
    return found


def heading(peers: dict[str, tuple[Path, str]]) -> list[str]:
    """What stands above the tables: when, where, with what."""
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    ours = [f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "orjson", "redis", "arq", "hiredis")]
    theirs = [f"{PACKAGES[name]} {found}" for name, (_, found) in peers.items()]
    return [
        "# Measured",
        "",
        f"`{' '.join(['python', '-m', 'bench.line', *sys.argv[1:]])}`, {datetime.now(UTC):%Y-%m-%d}; "
        f"{os.cpu_count()} cores {model.partition(':')[2].strip()}; Python {platform.python_version()}; "
        + ", ".join([*ours, *theirs])
        + ".",
        "",
        "Rounds are" + (__doc__ or "").rpartition("Rounds are")[2].replace("\n", " ").rstrip(),
        "",
    ]


def main() -> None:
    chosen = arguments()
    peers = {} if chosen.quick or chosen.no_peers else installed(chosen.environments)
    folder = Path(tempfile.mkdtemp(prefix="bucketline-bench-"))
    text = heading(peers)
    try:
        figures = Figures(
            folder,
            rounds=chosen.rounds or (3 if chosen.quick else 5),
            lines=chosen.lines or (6_000 if chosen.quick else 20_000),
            peers={name: python for name, (python, _) in peers.items()},
            quick=chosen.quick,
            million=chosen.million,
        )
        for name in FIGURES:
            if name in chosen.only:
                table = getattr(figures, name)()
                print("\n".join(table), flush=True)
                text += [*table, ""]
    finally:
        shutil.rmtree(folder)
    if not chosen.quick and set(chosen.only) == set(FIGURES):
        RESULTS.write_text("\n".join(text))
        print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
