"""The short form of ``make chaos``: a batch through three workers that are killed, stopped and cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.lines import QUICK, storm


@pytest.mark.slow
async def test_a_storm_costs_no_line_and_no_recorded_answer(tmp_path: Path) -> None:
    """Every line once, nothing recorded bought again, the manifest equal to the provider's books, the dead's shards taken up."""
    verdict = await storm(1, QUICK, tmp_path)
    assert verdict.wrong == []
    assert verdict.faults >= 10
