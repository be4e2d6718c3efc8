"""A pane on the screen: a title, and a table that keeps its cursor while its rows move.

Comes in: a ``View`` a second. Goes out: the row under the cursor. Cells are written over where the rows are the same as before,
which costs little and does not flicker over ssh; else the table is filled anew and the cursor set back on its row. Called
by the app.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable, Static
from textual.widgets.data_table import CellDoesNotExist

from bucketline.shown import shown
from producer.top.table import Cell, Column, View

__all__ = ["Pane"]

_LEAST = 8  #: the least that the column gets which takes what is left


class _Width(NamedTuple):
    """A column on this screen, and the blanks after it."""

    name: str
    cells: int
    gap: int


class _Table(DataTable[Text]):
    """A table of rows; its own keys are the app's."""

    def __init__(self) -> None:
        # Under the cursor a cell keeps its colour: red must not turn white where somebody looks at it.
        super().__init__(
            cursor_type="row", cell_padding=0, show_row_labels=False, cursor_foreground_priority="renderable"
        )


class Pane(Vertical):
    """One of the monitor's panes; ``name`` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, id=name)
        self.sort: str | None = None
        self.down = True
        self._title = Static("", classes="title", markup=False)
        self._table = _Table()
        self._titled = ""
        self._columns: tuple[_Width, ...] = ()
        self._rows: dict[str, tuple[Cell, ...]] = {}

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._table

    @property
    def table(self) -> DataTable[Text]:
        return self._table

    @property
    def selected(self) -> str | None:
        """The key of the row under the cursor; None in an empty pane."""
        with suppress(CellDoesNotExist):
            return self._table.coordinate_to_cell_key(self._table.cursor_coordinate).row_key.value
        return None

    def show(self, view: View, width: int, height: int) -> None:
        """Draw rows; ``width`` is what the screen has, ``height`` what this pane gets of it."""
        self.styles.height = height
        if view.title != self._titled:
            self._title.update(shown(view.title))
            self._titled = view.title
        columns = tuple(_widths(view.columns, width))
        rows = {row.key: row.cells for row in view.rows}
        if columns == self._columns and list(rows) == list(self._rows):
            self._write_over(view, rows)
        else:
            self._fill(view, columns, rows)
        self._columns, self._rows = columns, rows

    def next_sort(self, columns: tuple[Column, ...]) -> None:
        """The next column to sort by; after the last, none."""
        names = [None, *(column.name for column in columns)]
        place = names.index(self.sort) if self.sort in names else 0
        self.sort = names[(place + 1) % len(names)]

    def _write_over(self, view: View, rows: dict[str, tuple[Cell, ...]]) -> None:
        for key, cells in rows.items():
            for n, column in enumerate(view.columns):
                cell = cells[n]
                if cell[:2] != self._rows[key][n][:2]:
                    text = _padded(cell.text, cell.style, column, self._columns[n].cells)
                    self._table.update_cell(key, column.name, text)

    def _fill(self, view: View, columns: tuple[_Width, ...], rows: dict[str, tuple[Cell, ...]]) -> None:
        table, here = self._table, self.selected
        before = table.cursor_row
        if columns != self._columns:
            table.clear(columns=True)
            for column, width in zip(view.columns, columns, strict=True):
                label = _padded(width.name, "", column, width.cells)
                table.add_column(label, width=width.cells + width.gap, key=width.name)
        else:
            table.clear()
        for key, cells in rows.items():
            texts = [
                _padded(cell.text, cell.style, column, width.cells)
                for cell, column, width in zip(cells, view.columns, columns, strict=True)
            ]
            table.add_row(*texts, key=key)
        if here in rows:
            table.move_cursor(row=table.get_row_index(here), animate=False)
        elif rows:
            table.move_cursor(row=min(before, len(rows) - 1), animate=False)


def _widths(columns: tuple[Column, ...], width: int) -> Iterator[_Width]:
    """Fixed widths, and what is left for the column without one; the edges and a scroll bar take two cells."""
    # What stands right and what stands left beside it would read as one.
    gaps = [2 if one.right and not after.right else 1 for one, after in pairwise(columns)] + [1]
    taken = sum(column.width or 0 for column in columns) + sum(gaps) + 2
    for column, gap in zip(columns, gaps, strict=True):
        yield _Width(column.name, column.width or max(_LEAST, width - taken), gap)


def _padded(text: str, style: str, column: Column, width: int) -> Text:
    """A cell's text, cut and set to its side; the gap is part of it, so that neighbours never touch."""
    text = shown(text)
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return Text(f"{cut:>{width}}" if column.right else cut, style=style, no_wrap=True, end="")
