"""The sliding window is the judge of every limiter, so it has to be exact to the nanosecond."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.simulator.window import Window

_LENGTH = 60
_STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=60)


def _inside(log: list[tuple[int, int]], end: int) -> int:
    """By brute force: what was let in during the window that ends here."""
    return sum(amount for at, amount in log if end - _LENGTH < at <= end)


@given(_STEPS, st.integers(1, 30))
def test_no_window_ever_holds_more_than_the_limit_and_nobody_is_refused_who_would_fit(
    steps: list[tuple[int, int]], limit: int
) -> None:
    window, log, now = Window(_LENGTH), [], 0
    for pause, amount in steps:
        now += pause
        fits = _inside(log, now) + amount <= limit
        assert (window.wait_ns(now, amount, limit) == 0) is fits
        if fits:
            window.add(now, amount)
            log.append((now, amount))
    for end in range(now + _LENGTH):
        assert _inside(log, end) <= limit


@given(_STEPS, st.integers(1, 30))
def test_the_wait_told_is_the_shortest_that_helps(steps: list[tuple[int, int]], limit: int) -> None:
    window, log, now = Window(_LENGTH), [], 0
    for pause, amount in steps:
        now += pause
        wait = window.wait_ns(now, amount, limit)
        if wait is None:
            assert amount > limit
            continue
        assert _inside(log, now + wait) + amount <= limit
        assert wait == 0 or _inside(log, now + wait - 1) + amount > limit
        now += wait
        window.add(now, amount)
        log.append((now, amount))


@given(_STEPS)
def test_the_peak_is_the_most_that_any_window_held(steps: list[tuple[int, int]]) -> None:
    window, log, now = Window(_LENGTH), [], 0
    for pause, amount in steps:
        now += pause
        window.add(now, amount)
        log.append((now, amount))
    assert window.peak == max((_inside(log, end) for end in range(now + 1)), default=0)
    assert now + window.empty_in_ns(now) == max((at + _LENGTH for at, _ in log), default=now)
