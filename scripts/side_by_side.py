"""The README's figures beside other clients, taken from the file that ``make bench`` writes.

Comes in: ``bench/results.md``. Goes out: a Markdown table of one row a client, at the first number of connections that
was measured, and where the rest stands; or one sentence where nothing was measured yet. Nothing is reckoned or rounded
here. Used by ``scripts/reference.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["COLUMNS", "SECTION", "side_by_side"]

SECTION = "## CPU for each request"
COLUMNS = ("client", "CPU ms a request", "× ours")
_NAMES = {"ours": "**bucketline**", "bare loop": "a bare loop of aiohttp, which keeps nothing"}
_NOTHING = "`make bench` measures it on your machine, beside a bare loop and other clients."
_TOLD = (
    "Processor time for each request against a provider that answers at once (least / median / most of interleaved rounds,\n"
    "one process, {connections} connections); how it was measured, and memory, merging and more: [bench/results.md](bench/results.md)."
)


def side_by_side(results: str | None) -> str:
    """The part of the README. Raises ValueError where the file has no such table."""
    if results is None:
        return _NOTHING
    head, *rows = _table(results)
    at = [head.index(column) for column in COLUMNS]
    where = head.index("connections")
    connections = rows[0][where]
    lines = [_TOLD.format(connections=connections), "", _row(COLUMNS), "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        if row[where] == connections:
            cells = [row[column] for column in at]
            lines.append(_row([_NAMES.get(cells[0], f"`{cells[0]}`"), *cells[1:]]))
    return "\n".join(lines)


def _row(cells: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(results: str) -> list[list[str]]:
    """The section's first table: its head and its rows, as cells."""
    _, found, section = results.partition(SECTION)
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    if not found or len(rows) < 3:
        raise ValueError(f"bench/results.md has no table under {SECTION!r}; run `make bench`.")
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in (rows[0], *rows[2:])]
