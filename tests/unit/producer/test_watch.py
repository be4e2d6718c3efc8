"""What is said of a batch's pace and end."""

from __future__ import annotations

import pytest

from bucketline.batch import Counts, Progress, State
from producer.watch import Pace, exit_code_of


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
