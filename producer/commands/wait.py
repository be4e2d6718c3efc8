"""``bucketline wait``: until a batch is over."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import BatchId, JsonFlag, print_json, with_producer
from producer.commands.status import show

if TYPE_CHECKING:
    from bucketline.batch import Progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def wait(
        context: typer.Context,
        batch_id: BatchId,
        timeout_s: Annotated[float | None, typer.Option("--timeout", help="seconds; then exit with 3")] = None,
        json: JsonFlag = False,
    ) -> None:
        """Wait for a batch's end; exits with 0 when all lines were answered, with 1 when some were not."""
        from producer.watch import exit_code_of

        line = _Line() if sys.stderr.isatty() else None
        try:
            progress = with_producer(
                context,
                lambda producer: producer.wait(batch_id, timeout_s=timeout_s, show=line.show if line else _silent),
            )
        finally:
            if line:
                sys.stderr.write("\n")
        if json:
            print_json({"batches": [progress.document()]})
        else:
            show([progress])
        raise typer.Exit(exit_code_of(progress))


def _silent(_: Progress) -> None:
    """Nobody watches."""


class _Line:
    """One line on the terminal, written over at each look."""

    def __init__(self) -> None:
        from producer.watch import Pace

        self._pace = Pace()

    def show(self, progress: Progress) -> None:
        counts = progress.counts
        self._pace.add(time.monotonic(), counts.done)
        left_s = self._pace.left_s(counts.total)
        left = "" if left_s is None else f", {_span(left_s)} left"
        state = "paused" if progress.paused else progress.state.value
        text = f"{state}: {counts.done} of {counts.total} ({counts.percent:g} %), {counts.failed} failed"
        sys.stderr.write(f"\r\x1b[K{text}, {self._pace.lines_per_s:.1f} lines/s{left}")
        sys.stderr.flush()


def _span(seconds: float) -> str:
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest_s:02d}" if hours else f"{minutes}:{rest_s:02d}"
