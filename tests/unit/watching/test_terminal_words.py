"""What a look prints where there is little room, or where nobody reads on."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bucketline.bar import Bar
from bucketline.batch import Counts, Progress, State
from producer.commands.base import print_table

ID = "batch_4f0c2a91d3e8b7a65c10"
COLUMNS = ["batch", "done", "created", "source"]
ROW = [ID, "62%", "2026-11-25 12:46:14", "a-long-name-of-a-file.jsonl"]


def printed(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, terminal: bool = True
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_table(COLUMNS, [ROW], right=frozenset(["done"]), spare=("created", "source"))
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_narrow_terminal_leaves_out_what_can_be_spared_and_cuts_no_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id that is cut off cannot be copied."""
    assert "12:46:14" in printed(100, monkeypatch, capsys)[2]
    head, _, row = printed(70, monkeypatch, capsys)
    assert "created" not in head
    assert row.split() == [ID, "62%", ROW[3]]
    assert printed(40, monkeypatch, capsys)[2].split() == [ID, "62%"]
    tiny = printed(20, monkeypatch, capsys)
    assert "".join(line[:14].strip() for line in tiny[2:]).startswith(ID)


def test_a_pipe_gets_all_columns_a_row_on_a_line_and_the_head_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(20, monkeypatch, capsys, terminal=False)
    assert len(lines) == 3
    assert lines[0].split() == COLUMNS
    assert ROW[3] in lines[2]


def test_a_reader_who_goes_away_is_no_fault(work_folder: Path) -> None:
    """``| head`` ends a pipe early: nothing is said about it, by us or by Python's own end (which has code 120)."""
    read, write = os.pipe()
    os.close(read)
    program = "import sys; from worker.cli import main; sys.argv = ['bucketline', '--version']; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, cwd=work_folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}, check=False,
    )  # fmt: skip
    os.close(write)
    assert ended.stderr == b""
    assert ended.returncode in (0, 1)


@pytest.mark.parametrize(
    ("columns", "words"), [(80, "31m15s left  1,234 failed"), (120, "345/s  12.3M tokens"), (60, "")]
)
def test_the_bar_of_a_batch_keeps_the_time_left_in_a_small_terminal(columns: int, words: str) -> None:
    drawn, now_s = io.StringIO(), 0.0
    console = Console(file=drawn, force_terminal=True, width=columns, color_system=None)
    with Bar(console, monotonic=lambda: now_s) as bar:
        for tick in range(3):
            now_s = 10.0 * tick
            counts = Counts(1_000_000, 345_000 + 3_450 * tick, 1_234, 0)
            bar.show(Progress(ID, "s", State.IN_PROGRESS, counts, 12_345_600_000, False, 12_345_678, 0.0))
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.getvalue()).splitlines()[-1].split("\r")[-1]
    assert len(last) <= columns
    assert "353,134/1,000,000" in last
    assert words in last
