"""The live bar of a batch: done, failed, rate, tokens, money, time left.

Comes in: the batch's progress, a few times a second, and what else bears on the time left. Goes out: one line on a
terminal's stderr, or nothing in a pipe. Called by ``run``, ``demo`` and ``wait``; it draws, nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bucketline.batch import Progress as BatchProgress
from bucketline.figures import cents, seconds_in_words, short_count
from bucketline.pace import Bound, Pace, time_left_s

__all__ = ["Bar", "fitting"]

_ROOMY = 100  #: from so many columns on the bar itself is long


class Bar:
    """Shows one batch; ``with`` it."""

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._pace = Pace()
        self._console = console
        self._bar_cells = 24 if console.width >= _ROOMY else 12
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=self._bar_cells),
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

    def show(self, batch: BatchProgress, bounds: Sequence[Bound] = ()) -> None:
        """Draw where the batch is; ``bounds`` are what limits let through."""
        counts = batch.counts
        self._pace.add(self._monotonic(), counts.done)
        per_s = self._pace.lines_per_s
        left_s = None if batch.paused else time_left_s(counts.total - counts.done, per_s, bounds)
        state = "paused" if batch.paused else batch.state.value
        words = (
            f"{counts.done:,}/{counts.total:,}",
            f"{seconds_in_words(left_s)} left" if left_s else "",
            f"{counts.failed:,} failed" if counts.failed else "",
            cents(batch.nanousd),
            f"{per_s:.0f}/s",
            f"{short_count(batch.tokens)} tokens",
        )
        room = self._console.width - len(state) - self._bar_cells - len("   100%  ")
        self._progress.update(
            self._task, description=state, total=counts.total, completed=counts.done, words=fitting(words, room)
        )


def fitting(words: Sequence[str], room: int) -> str:
    """As many of the words, the most important first, as so many cells hold.

    >>> fitting(["10/20", "5s left", "", "$1.00"], 14)
    '10/20  5s left'
    """
    shown = ""
    for word in filter(None, words):
        longer = f"{shown}  {word}" if shown else word
        if len(longer) > room:
            break
        shown = longer
    return shown
