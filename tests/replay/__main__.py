"""``python -m tests.replay [CASE_DIR …]``: play cases, print a table, exit 1 when one that counts has failed.

Without arguments the folder in ``BUCKETLINE_CASES`` is played, else the one beside the repository.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import boto3
from botocore.config import Config
from rich.console import Console
from rich.text import Text

from tests.replay.case import Case, NoCases, find_cases, variants_of
from tests.replay.play import House, play_all
from tests.replay.report import Result, failures_that_count, read_standing, show
from tests.replay.services import MissingService, S3Server

_ROOT = Path(__file__).resolve().parents[2]
_BESIDE = _ROOT.parent / "shared" / "cases"
_WIDTH = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 all well, 1 a case failed, 2 nothing to play, 4 a server is missing, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        cases = _chosen(options)
        return asyncio.run(_run(cases, options))
    except NoCases as error:
        print(error, file=sys.stderr)  # noqa: T201  # the one sentence
        return 2
    except MissingService as error:
        print(error, file=sys.stderr)  # noqa: T201  # the one sentence
        return 4
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.replay", description="Known faults, case by case.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="CASE_DIR", help="cases, or folders of cases")
    parser.add_argument("-k", dest="filter", default="", help="only cases whose name contains this (or one of a,b,c)")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="cases side by side (default 2)")
    parser.add_argument("--variants", action="store_true", help="the cases' larger variants too")
    parser.add_argument("--keep", action="store_true", help="keep each case's folder: configuration, words of workers")
    return parser


def _chosen(options: argparse.Namespace) -> list[Case]:
    paths = options.paths or [Path(os.environ.get("BUCKETLINE_CASES") or _BESIDE)]
    for path in paths:
        if not path.is_dir():
            raise NoCases(
                f"There is no folder {path}; name a case's folder, or a folder of cases, on the command line or in "
                "BUCKETLINE_CASES."
            )
    cases = find_cases(paths)
    if options.variants:
        cases += [variant for case in cases for variant in variants_of(case)]
    wanted = [word for word in options.filter.split(",") if word]
    kept = [case for case in cases if not wanted or any(word in case.name for word in wanted)]
    if not kept:
        raise NoCases(f"No case's name contains {options.filter!r}; there are {', '.join(c.name for c in cases)}.")
    return kept


async def _run(cases: Sequence[Case], options: argparse.Namespace) -> int:
    _cancel_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    standing = read_standing()

    def done(result: Result) -> None:
        console.print(Text(f"{result.name}: {result.outcome.value} in {result.seconds:.1f} s"))

    with tempfile.TemporaryDirectory(prefix="replay-s3-") as folder:
        async with S3Server(Path(folder)) as store:
            house = House(store.address, _client(store.address), keep=options.keep)
            results = await play_all(cases, house, options.jobs, done)
    show(results, standing, console)
    return 1 if failures_that_count(results, standing) else 0


def _client(address: str) -> object:
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="replay",
        aws_secret_access_key="replay-secret",
        config=Config(proxies={}, s3={"addressing_style": "path"}, max_pool_connections=20),
    )


def _cancel_on_sigterm() -> None:
    """SIGTERM goes the way of Ctrl-C, through every ``finally``."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


if __name__ == "__main__":
    sys.exit(main())
