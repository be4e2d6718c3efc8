"""Rows to be shown, and what may be done with them: sorted, filtered, narrowed.

Comes in: cells. Goes out: the same in another order, or fewer. Pure; built by ``views``, drawn by ``panes``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Cell", "Column", "Row", "View", "heights"]


class Cell(NamedTuple):
    """A text, its style, and what it is sorted by where that is not the text."""

    text: str
    style: str = ""
    rank: float | None = None


class Column(NamedTuple):
    """``wide`` columns are shown where there is room; a column without a width takes what is left."""

    name: str
    width: int | None
    right: bool = False
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """``key`` names what the row is about: a batch's id, a scope, a route, a worker."""

    key: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One pane: its title, its columns, its rows in their natural order."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def narrowed(self) -> View:
        """Without the wide columns."""
        kept = [n for n, column in enumerate(self.columns) if not column.wide]
        rows = tuple(Row(row.key, tuple(row.cells[n] for n in kept)) for row in self.rows)
        return View(self.title, tuple(self.columns[n] for n in kept), rows)

    def filtered(self, text: str) -> View:
        """Only rows that show the text somewhere."""
        if not text:
            return self
        wanted = text.casefold()
        rows = tuple(
            row
            for row in self.rows
            if wanted in row.key.casefold() or any(wanted in cell.text.casefold() for cell in row.cells)
        )
        return View(f"{self.title}, showing {text!r}", self.columns, rows)

    def sorted_by(self, column: str | None, *, down: bool = True) -> View:
        """By one column; where that is not shown, in the natural order."""
        place = next((n for n, one in enumerate(self.columns) if one.name == column), None)
        if place is None:
            return self
        ranks: Callable[[Row], tuple[float, str]] = lambda row: _rank(row.cells[place])  # noqa: E731
        return View(f"{self.title}, by {column}", self.columns, tuple(sorted(self.rows, key=ranks, reverse=down)))


def heights(rows: Sequence[int], shares: Sequence[int], room: int) -> list[int]:
    """Lines of the screen for panes over each other, a title and a head in each.

    Every pane shows one row at least. Where not all rows fit, panes grow in proportion to their shares, and none beyond
    its rows; what nobody needs is the last one's, so that the picture stands still at the top.

    >>> heights([3, 4, 3, 0], [6, 5, 3, 3], 21)
    [5, 6, 5, 5]
    """
    found = [3] * len(rows)
    for _ in range(room - sum(found)):
        short = [n for n, count in enumerate(rows) if found[n] < count + 2]
        found[min(short, key=lambda n: found[n] / shares[n]) if short else -1] += 1
    return found


def _rank(cell: Cell) -> tuple[float, str]:
    return (cell.rank if cell.rank is not None else float("-inf"), cell.text)
