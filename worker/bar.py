"""The live bar of a local run: done, failed, rate, tokens, money, time left.

Comes in: the batch's progress, a few times a second. Goes out: one line on a terminal's stderr, or nothing in a pipe.
Called by ``run`` and ``demo``; it reads and draws, nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bucketline.batch import Progress as BatchProgress
from bucketline.money import usd

__all__ = ["Bar", "seconds_in_words", "short_count"]

_RATE_OVER_S = 10.0  #: the rate shown is that of the last so many seconds


def short_count(number: float) -> str:
    """1234567 → ``1.2M``."""
    for step, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= step:
            return f"{number / step:.1f}{letter}"
    return f"{number:.0f}"


def seconds_in_words(seconds: float) -> str:
    """75 → ``1m15s``; whole seconds, at most two units."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


class Bar:
    """Shows one batch; ``with`` it."""

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: deque[tuple[float, int]] = deque()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[words]}"),
            console=console,
            disable=not console.is_terminal,
            transient=False,
        )
        self._task = self._progress.add_task("starting", total=None, words="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, batch: BatchProgress) -> None:
        """Draw where the batch is."""
        counts = batch.counts
        per_s = self._rate(counts.done)
        left = (counts.total - counts.done) / per_s if per_s else None
        words = [f"{counts.done:,}/{counts.total:,}"]
        if counts.failed:
            words.append(f"[red]{counts.failed:,} failed[/red]")
        words += [f"{per_s:.0f}/s", f"{short_count(batch.tokens)} tokens", f"${_cents(batch.nanousd)}"]
        if left is not None and counts.done < counts.total:
            words.append(f"{seconds_in_words(left)} left")
        self._progress.update(
            self._task, description=batch.state.value, total=counts.total, completed=counts.done, words="  ".join(words)
        )

    def _rate(self, done: int) -> float:
        now = self._monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_OVER_S:
            self._seen.popleft()
        since, before = self._seen[0]
        return (done - before) / (now - since) if now > since else 0.0


def _cents(nanousd: int) -> str:
    """Money for the bar: four decimals below a dollar, two above."""
    exact = usd(nanousd) or "0"
    return f"{float(exact):.2f}" if nanousd >= 1_000_000_000 else f"{float(exact):.4f}"
