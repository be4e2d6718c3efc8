"""A large batch's bill: a hundred thousand lines written, merged, folded and verified in flat memory."""

from __future__ import annotations

import pytest

from bench.fold import main


@pytest.mark.slow
def test_ten_times_the_lines_need_no_more_memory_for_the_bill() -> None:
    """Flat means that a million lines need what ten thousand need: measured as peak memory of a process each."""
    small, large = main(10_000), main(100_000)
    for step in ("fold", "check"):
        assert large[step]["peak_mb"] < 1.3 * small[step]["peak_mb"], (small, large)
        assert large[step]["peak_mb"] < 300
    assert large["check"]["ok"]
    assert large["fold"]["completed"] == 90_000
