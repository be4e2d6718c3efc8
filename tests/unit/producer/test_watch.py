"""What is said of a batch's pace and end."""

from __future__ import annotations

import pytest

from bucketline.batch import Counts, Progress, State
from bucketline.pace import Bound, Pace, time_left_s
from producer.watch import exit_code_of


def progress(state: State, completed: int, failed: int = 0, cancelled: int = 0) -> Progress:
    counts = Counts(10, completed, failed, cancelled)
    return Progress("batch_1", "x", state, counts, nanousd=0, unpriced=False, tokens=0, created_s=0.0)


@pytest.mark.parametrize(
    ("state", "completed", "code"),
    [
        (State.IN_PROGRESS, 10, 3),
        (State.FINALIZING, 10, 3),
        (State.COMPLETED, 10, 0),
        (State.COMPLETED, 9, 1),
        (State.CANCELLED, 9, 1),
        (State.EXPIRED, 0, 1),
        (State.FAILED, 10, 1),
    ],
)
def test_the_exit_code_says_whether_all_lines_were_answered(state, completed, code):
    """A batch whose lines are all done is not over before its files are there."""
    assert exit_code_of(progress(state, completed)) == code


def test_time_left_follows_the_observed_rate_and_is_not_guessed():
    pace = Pace()
    assert pace.left_s(100) is None
    pace.add(0.0, 0)
    assert (pace.lines_per_s, pace.left_s(100)) == (0.0, None)
    pace.add(10.0, 20)
    assert (pace.lines_per_s, pace.left_s(100)) == (2.0, 40.0)
    for second in range(11, 60):
        pace.add(float(second), 20)
    assert pace.left_s(100) is None, "a stand-still must not show the rate of before"


def test_no_burst_makes_time_left_shorter_than_the_limits_allow():
    """The first second of a minute's allowance goes out at once; the other fifty-nine do not."""
    assert time_left_s(6000, 1000.0) == 6.0
    assert time_left_s(6000, 1000.0, [Bound(each=1, per_s=100.0), Bound(each=500, per_s=10_000.0)]) == 300.0
    assert time_left_s(6000, 1.0, [Bound(each=1, per_s=100.0)]) == 6000.0, "slower than the limit: as observed"


def test_a_daily_limit_counts_in_days():
    day = Bound(each=1, per_day=1000, left_today=200, resets_in_s=3600.0)
    assert time_left_s(100, 50.0, [day]) == 2.0
    assert time_left_s(201, 50.0, [day]) == 3600.0
    assert time_left_s(2300, 50.0, [day]) == 3600.0 + 2 * 86400


def test_a_batch_that_stands_still_until_a_known_moment_has_at_least_that_long():
    assert time_left_s(60, 0.0, [Bound(each=1, per_s=1.0)], wait_s=100.0) == 160.0
    assert time_left_s(60, 0.0) is None
    assert time_left_s(0, 0.0) == 0.0
