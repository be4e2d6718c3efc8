"""The README's figures are those that were measured, and no others."""

from __future__ import annotations

import pytest

from scripts.side_by_side import COLUMNS, SECTION, side_by_side
from tests.docs.test_links import ROOT

RESULTS = """\
# Measured

## CPU for each request, one process

| client | connections | CPU ms a request | × bare | × ours |
| --- | --- | --- | --- | --- |
| bare loop | 100 | 0.100 / 0.101 / 0.110 | 1.00 | 0.66 |
| ours | 100 | 0.150 / 0.152 / 0.160 | 1.50 | 1.00 |
| litellm | 100 | 9.1 / 9.2 / 9.3 | 91.00 | 60.50 |
| ours | 1000 | 0.2 / 0.2 / 0.2 | 2.00 | 1.00 |

Ours / bare, round by round: 1.5.

## Idle

| % of a core |
| --- |
| 0.2 |
"""


def test_a_figure_is_copied_as_it_was_measured() -> None:
    said = side_by_side(RESULTS)
    assert "100 connections" in said
    assert said.splitlines()[3:] == [
        "| client | CPU ms a request | × ours |",
        "| --- | --- | --- |",
        "| a bare loop of aiohttp, which keeps nothing | 0.100 / 0.101 / 0.110 | 0.66 |",
        "| **bucketline** | 0.150 / 0.152 / 0.160 | 1.00 |",
        "| `litellm` | 9.1 / 9.2 / 9.3 | 60.50 |",
    ]


def test_where_nothing_was_measured_nothing_is_claimed() -> None:
    assert "|" not in side_by_side(None)


def test_a_file_without_the_table_is_a_sentence() -> None:
    """A benchmark that was renamed must not empty the README in silence."""
    with pytest.raises(ValueError, match="make bench"):
        side_by_side("# Measured\n")


def test_the_table_is_one_that_the_benchmark_writes() -> None:
    """Were its heading or its columns renamed there, the README could not be made anew."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bench").glob("*.py"))
    assert SECTION.removeprefix("## ") in sources
    assert all(f'"{column}"' in sources for column in (*COLUMNS, "connections"))
