"""The pure parts of the gate: whose turn it is, how far estimates are trusted, when a day begins anew."""

from __future__ import annotations

import random
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.limiter.daily import next_reset_s
from worker.limiter.trust import Trust
from worker.limiter.waiters import Waiter, Waiters


def waiter(batch: str = "b", priority: int = 0, since: float = 0.0) -> Waiter:
    future: Any = Future()
    return Waiter(future, 0, 0, 0, batch, priority, since)


def names(block: list[Waiter]) -> str:
    return "".join(one.batch_id for one in block)


def test_batches_of_a_priority_take_turns_and_each_keeps_its_order() -> None:
    line = Waiters()
    for n, batch in enumerate("aaaaaabbc"):
        line.push(waiter(batch, since=n))
    block = line.take(9)
    assert names(block) == "abcabaaaa"
    assert [one.since for one in block if one.batch_id == "a"] == [0, 1, 2, 3, 4, 5]


def test_a_higher_priority_goes_first_and_never_in_one_block_with_a_lower() -> None:
    line = Waiters()
    line.push(waiter("low", 0))
    line.push(waiter("high", 5))
    assert names(line.take(9)) == "high"
    assert names(line.take(9)) == "low"


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 9), st.integers(0, 9))
def test_who_did_not_go_stands_first_again_in_the_same_order(batches: list[str], most: int, gone: int) -> None:
    """Else a large request at the head would be overtaken at each turn."""
    line = Waiters()
    for batch in batches:
        line.push(waiter(batch))
    block = line.take(most)
    line.put_back(block[gone:])
    again = line.take(most)
    assert again[: len(block[gone:][:1])] == block[gone:][:1]
    for batch in "abc":
        left = [one for one in block[gone:] if one.batch_id == batch]
        assert [one for one in again if one.batch_id == batch][: len(left)] == left
    assert len(line) == len(batches) - min(len(block), gone) - len(again)


def test_the_cancelled_are_passed_over_and_not_counted() -> None:
    line = Waiters()
    crowd = [waiter() for _ in range(5)]
    for one in crowd:
        line.push(one)
    for one in crowd[:3]:
        one.future.cancel()
        line.cancelled(one)
        line.cancelled(one)
    assert len(line) == 2
    assert line.take(5) == crowd[3:]


def test_the_oldest_counts_those_left_behind_too() -> None:
    line = Waiters()
    for batch, since in (("a", 5.0), ("b", 1.0), ("c", 9.0)):
        line.push(waiter(batch, since=since))
    block = line.take(1)
    assert line.oldest(block) == 1.0


def test_right_estimates_are_taken_as_they_are() -> None:
    trust = Trust()
    for n in range(100):
        trust.learn(100 + n, 100 + n)
    assert trust.factor == pytest.approx(1.0)


def test_estimates_that_are_half_or_double_cover_what_is_in_flight() -> None:
    """In flight together, the calls must not use more than was charged for them."""
    trust, dice = Trust(), random.Random(1)
    for _ in range(300):
        trust.learn(100, dice.choice((50, 200)))
    assert 1.25 <= trust.factor <= 2.3


def test_estimates_of_a_high_percentile_are_not_charged_in_full() -> None:
    trust, dice = Trust(), random.Random(1)
    draws = [dice.lognormvariate(5, 1) for _ in range(2000)]
    p95 = round(sorted(draws)[1900])
    for draw in draws:
        trust.learn(p95, round(draw))
    mean = sum(draws) / len(draws)
    assert 1.1 * mean < trust.factor * p95 < 0.8 * p95


def test_a_few_calls_prove_nothing() -> None:
    trust = Trust()
    for _ in range(15):
        trust.learn(100, 1)
    assert trust.factor == 1.0


@pytest.mark.parametrize(
    ("now", "hour", "zone", "reset"),
    [
        ("2026-01-10T05:00", 0, "UTC", "2026-01-11T00:00"),
        ("2026-01-10T00:00", 0, "UTC", "2026-01-11T00:00"),
        ("2026-01-10T05:00", 9, "UTC", "2026-01-10T09:00"),
        ("2026-01-10T07:59", 0, "America/Los_Angeles", "2026-01-10T08:00"),
        ("2026-03-08T12:00", 0, "America/Los_Angeles", "2026-03-09T07:00"),
        ("2026-11-01T08:00", 0, "America/Los_Angeles", "2026-11-02T08:00"),
        ("2026-03-28T12:00", 2, "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-01-10T05:00", 0, "Nowhere/Atlantis", "2026-01-11T00:00"),
    ],
)
def test_a_day_begins_anew_by_the_zones_own_rules(now: str, hour: int, zone: str, reset: str) -> None:
    def moment(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert next_reset_s(moment(now), hour, zone) == moment(reset)
