"""A local run as a person sees it: the bar, Ctrl-C, and at the end what it cost and where it lies.

Comes in: the order and the settings. Goes out: the exit code; words and tables on stderr. Called by ``run`` and ``demo``.
The first Ctrl-C lets answers land and stops; what was recorded stays, and the sentence says how to go on.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from contextlib import suppress

from rich import box
from rich.console import Console
from rich.table import Table

from bucketline.bar import Bar
from bucketline.batch import TERMINAL, Counts
from bucketline.figures import seconds_in_words
from bucketline.manifest import Manifest, ManifestCounts
from bucketline.manifest_page import incomplete_reasons
from bucketline.settings import Settings
from bucketline.shown import shown
from worker.finished import finished_before
from worker.local import LocalRun, run_local
from worker.logs import set_up_logs
from worker.supervise import run_loop

__all__ = ["run_on_screen", "show_manifest"]

_INTERRUPTED = 130


def run_on_screen(order: LocalRun, settings: Settings) -> int:
    """Run a batch here with a live bar; 0 all answered, 1 some failed, 130 interrupted. Raises submit's errors."""
    set_up_logs(level="ERROR")
    return run_loop(lambda: run_visibly(order, settings))


async def run_visibly(order: LocalRun, settings: Settings) -> int:
    """The same inside a running loop."""
    console = Console(file=sys.stderr, highlight=False)
    if (finished := await finished_before(order)) is not None:
        console.print(f"{shown(order.place)} holds the end of this run already; nothing was sent.", markup=False)
        show_manifest(console, finished, order.place)
        return _exit_code(finished.counts)
    go_on = f"go on with: bucketline run {shown(f'{shlex.quote(order.source)} -o {shlex.quote(order.place)}')} --resume"
    stop = _stop_on_interrupt(console, go_on)
    with Bar(console) as bar:
        progress = await run_local(
            order, settings, bar.show, stop, lambda words: console.print(shown(words), markup=False)
        )
    if progress.state not in TERMINAL:
        console.print(
            f"Stopped with {progress.counts.done:,} of {progress.counts.total:,} lines done and kept; {go_on}",
            markup=False,
        )
        return _INTERRUPTED
    manifest = Manifest.parse((order.folder / "manifest.json").read_bytes())
    show_manifest(console, manifest, order.place)
    return _exit_code(progress.counts)


def show_manifest(console: Console, manifest: Manifest, place: str) -> None:
    """The manifest's summary: lines, money by route, and where the files lie."""
    counts, cost = manifest.counts, manifest.cost
    console.print(
        f"\n{manifest.status}: {counts.completed:,} answered, {counts.failed:,} failed, {counts.cancelled:,} cancelled "
        f"of {counts.total:,} lines; {counts.attempts:,} calls, {counts.retries:,} of them retries, "
        f"{counts.fallbacks:,} fallbacks."
    )
    if manifest.errors:
        codes = ", ".join(f"{count:,} {code}" for code, count in manifest.errors.items())
        console.print(f"Not answered: {shown(codes)}. errors.jsonl says of each line why.", markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (
        ("route", "left"),
        ("answers", "right"),
        ("input", "right"),
        ("output", "right"),
        ("USD", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in cost.by_route:
        usage = row.usage
        table.add_row(
            shown(f"{row.provider}/{row.model}"),
            f"{row.requests:,}",
            f"{usage['input_tokens']:,}",
            f"{usage['output_tokens']:,}",
            row.usd or "unknown",
        )
    table.add_row("total", f"{counts.completed:,}", "", "", cost.usd, style="bold")
    console.print(table)
    for reason in incomplete_reasons(cost):
        console.print(shown(reason), markup=False)
    latency = manifest.latency_s
    console.print(
        f"Latency p50 {latency.p50:.2f} s, p95 {latency.p95:.2f} s, longest {seconds_in_words(latency.max)}.",
        markup=False,
    )
    console.print(f"Results: {shown(place).rstrip('/')}/output.jsonl, errors.jsonl, manifest.json", markup=False)


def _exit_code(counts: Counts | ManifestCounts) -> int:
    return 0 if counts.completed == counts.total else 1


def _stop_on_interrupt(console: Console, go_on: str) -> asyncio.Event:
    """The first Ctrl-C stops in order, the second at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if stop.is_set():
            console.print(f"Stopped at once, what was recorded is kept; {go_on}", markup=False)
            loop.remove_signal_handler(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        stop.set()
        console.print("Stopping: calls in flight may land. Ctrl-C again stops at once.", markup=False)

    with suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGINT, interrupted)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    return stop
