"""A small batch does not wait for the large ones before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.fairness import IN_FLIGHT, small_behind_large


@pytest.mark.slow
async def test_a_small_batch_behind_a_large_one_starts_with_the_next_calls(tmp_path: Path) -> None:
    """Counted in calls of the large batch, so that a slow machine, on which these are slower too, changes nothing.

    A worker that is full makes room as its calls end: a few rounds of what is in flight, of a thousand that the large one has.
    """
    start = await small_behind_large(tmp_path, 40_000)
    assert start.before_first <= 4 * IN_FLIGHT, start
    assert start.before_last <= 16 * IN_FLIGHT, start
