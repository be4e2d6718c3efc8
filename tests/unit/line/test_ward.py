"""Isolation by its plan alone: the guilty line is found in few deaths, an innocent one is never blamed for others' deaths alone."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from worker.ward import CONDEMNED, plan


@given(st.integers(1, 400), st.data())
def test_a_line_that_always_kills_is_condemned_after_at_most_four_deaths_and_alone(
    lines: int, data: st.DataObject
) -> None:
    guilty = data.draw(st.integers(1, lines))
    weights: dict[int, int] = {}
    open_lines = list(range(1, lines + 1))
    deaths = 0
    while True:
        condemned, groups = plan(open_lines, weights)
        assert condemned in ([], [guilty])
        if condemned:
            break
        for group in groups:
            if guilty in group.lines:
                deaths += 1
                for line in group.lines:
                    weights[line] = weights.get(line, 0) + group.weight
                break
            open_lines = [line for line in open_lines if line not in group.lines]
    assert deaths <= 4


@given(st.integers(1, 200), st.integers(0, 1000))
def test_every_line_is_tried_once_and_the_suspects_first(lines: int, seed: int) -> None:
    dice = random.Random(seed)
    weights = {line: dice.choice([0, 0, 0, 1, 2, 3, 6, 8]) for line in range(1, lines + 1)}
    condemned, groups = plan(range(1, lines + 1), weights)
    tried = [line for group in groups for line in group.lines]
    assert sorted([*tried, *condemned]) == list(range(1, lines + 1))
    assert all(weights[line] >= CONDEMNED for line in condemned)
    ranks = [min(weights[group.lines[0]], 2) for group in groups]
    assert ranks == sorted(ranks, reverse=True)
