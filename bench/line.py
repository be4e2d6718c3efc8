"""The whole line beside the bare loop and beside other clients: every figure in one run, on one server and one file.

    python -m bench.line                    every table; writes bench/results.md (half an hour on a quiet machine)
    python -m bench.line --quick            the ratios alone (two minutes; --no-peers: without other clients)
    python -m bench.line --only cpu little  some of: cpu little submit merge flat two idle
    python -m bench.line --only flat --million --rounds 1 --to bench/million.md

Rounds are interleaved: each client once, then each once more in the opposite order, so that what else the machine does
falls on all alike. A figure is min / median / max. CPU is user and system time of one process; walls are told only where
the figure is a time. See ``ours`` for what is measured of us, ``bare`` for the yardstick, ``stand`` for the server,
``peers`` for how the others are driven.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import bulk, calls
from bench.environments import Client, installed
from bench.figures import Stage, judgement
from bench.peers import PACKAGES

FIGURES: dict[str, Callable[[Stage], list[str]]] = {
    "cpu": calls.cpu,
    "little": calls.little,
    "submit": bulk.submit,
    "merge": bulk.merge,
    "flat": bulk.flat,
    "two": calls.two,
    "idle": calls.idle,
}
RESULTS = Path(__file__).with_name("results.md")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The whole line beside the bare loop and other clients.")
    parser.add_argument("--quick", action="store_true", help="two minutes: the ratios alone")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="FIGURE")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 3)", default=3)
    parser.add_argument("--lines", type=int, help="lines of the CPU figure (default: 20,000; quick: 6,000)")
    parser.add_argument("--million", action="store_true", help="flat: a million lines too")
    parser.add_argument("--to", type=Path, help="write the tables there (default: bench/results.md where all are made)")
    parser.add_argument("--no-peers", action="store_true", help="ours and the bare loop alone")
    return parser.parse_args()


def heading(peers: dict[str, Client], *, left_out: list[str]) -> list[str]:
    """What stands above the tables: when, where, with what."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    ours = [f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "orjson", "redis", "arq", "hiredis")]
    theirs = [f"{client.package} {client.version}" for client in peers.values()]
    command = " ".join(["python", "-m", "bench.line", *sys.argv[1:]])
    machine = f"{os.cpu_count()} cores {model.partition(':')[2].strip()}"
    load = f"load average {os.getloadavg()[2]:.1f} before the run: what others did meanwhile"
    made = f"`{command}`, {datetime.now(UTC):%Y-%m-%d}; {machine}, {load}; Python {platform.python_version()}; "
    made += ", ".join([*ours, *theirs]) + "."
    rounds = "Rounds are" + (__doc__ or "").rpartition("Rounds are")[2].replace("\n", " ").rstrip()
    text = ["# Measured", "", made, "", rounds, ""]
    return [*text, f"Does not install here, so it was left out: {', '.join(left_out)}.", ""] if left_out else text


def main() -> None:
    chosen = arguments()
    peers = {} if chosen.no_peers or "cpu" not in chosen.only else installed()
    text = heading(peers, left_out=[one for one in PACKAGES if peers and one not in peers])
    folder = Path(tempfile.mkdtemp(prefix="bucketline-bench-"))
    stage = Stage(
        folder,
        rounds=chosen.rounds,
        lines=chosen.lines or (6_000 if chosen.quick else 20_000),
        peers={name: client.python for name, client in peers.items()},
        quick=chosen.quick,
        million=chosen.million,
    )
    to = chosen.to or (RESULTS if not chosen.quick and set(chosen.only) == set(FIGURES) else None)
    tables: list[str] = []
    try:
        for name in [one for one in FIGURES if one in chosen.only]:
            try:
                found = FIGURES[name](stage)
            except RuntimeError as error:
                found = [f"## {name}", "", f"Not measured: {str(error).strip().rpartition(chr(10))[2]}", ""]
            print("\n".join(found), flush=True)
            tables += found
            if to is not None:  # after each figure, so that a run that is broken off leaves those it has
                to.write_text("\n".join([*text, *judgement(stage.judged), *tables]).rstrip() + "\n")
    finally:
        shutil.rmtree(folder)
    print("\n".join(judgement(stage.judged)))
    if to is not None:
        print(f"written to {to}")


if __name__ == "__main__":
    main()
