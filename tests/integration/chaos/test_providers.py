"""The storm of ``make chaos-providers``, shorter: its promises hold at every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.providers import Storm, storm


@pytest.mark.slow
async def test_a_storm_over_three_providers_costs_no_line_and_no_money(tmp_path: Path) -> None:
    """Every line answered once, few calls wasted, and our books are the providers' own to the nano-dollar."""
    report = await storm(tmp_path, Storm(lines=2000, stretch=0.5, concurrency=8, seed=3, most_beyond=0.06))
    assert report.faulty == [], report
    assert report.circuits_left == []
    assert {fault for faults in report.faults.values() for fault in faults} >= {"dropped", "money", "limited"}
