"""What every command shares: the global options, a producer for the length of a call, and where output goes.

Comes in: typer's context. Goes out: what the asked coroutine returns. JSON is one document on standard output; people's
words and progress go to standard error. Heavy modules are imported inside, so that ``--help`` is quick.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bucketline.shown import shown

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from producer.client import Producer

__all__ = ["BatchId", "Globals", "JsonFlag", "note", "print_json", "print_table", "say", "with_producer"]

T = TypeVar("T")

JsonFlag = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="the batch, as submit named it")]


@dataclass(slots=True)
class Globals:
    """The options that stand before the verb."""

    config: str | None = None


def with_producer(context: typer.Context, use: Callable[[Producer], Awaitable[T]]) -> T:
    """Run a coroutine on a producer of the chosen configuration."""

    async def once() -> T:
        from producer.client import Producer

        async with Producer(context.obj.config) as producer:
            return await use(producer)

    return asyncio.run(once())


def print_json(document: Any) -> None:
    """One JSON document, whole, on standard output."""
    import json

    sys.stdout.write(shown(json.dumps(document, ensure_ascii=False, indent=2)) + "\n")


def note(text: str) -> None:
    """A sentence for the person at the terminal."""
    sys.stderr.write(shown(text) + "\n")


def say(text: str) -> None:
    """Words for a person, on standard output."""
    sys.stdout.write(shown(text) + "\n")


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | RenderableType]],
    *,
    right: frozenset[str] = frozenset(),
    spare: Sequence[str] = (),
) -> None:
    """A table on standard output; as wide as its content where output is no terminal.

    On a terminal without room for all of it, ``spare`` columns are left out, the first of them first; then cells fold.
    """
    from rich.console import Console
    from rich.measure import Measurement

    width = None if sys.stdout.isatty() else 100_000  # whoever reads a pipe wants a row on one line
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    wanted, table = list(spare), _table(columns, rows, right)
    while wanted and Measurement.get(console, console.options.update(max_width=100_000), table).maximum > console.width:
        place = columns.index(wanted.pop(0))
        columns, rows = _without(place, columns), [_without(place, row) for row in rows]
        table = _table(columns, rows, right)
    console.print(table, crop=False, soft_wrap=width is not None)


def _without(place: int, cells: Sequence[T]) -> list[T]:
    return [*cells[:place], *cells[place + 1 :]]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | RenderableType]], right: frozenset[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell) if isinstance(cell, str) else cell for cell in row))
    return table
