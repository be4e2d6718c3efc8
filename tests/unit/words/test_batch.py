"""The states are OpenAI's eight, and every one of them ends."""

from __future__ import annotations

from bucketline.batch import NEXT_STATES, TERMINAL, Counts, State, iso_time


def test_every_state_is_in_the_table_and_every_way_ends() -> None:
    assert set(NEXT_STATES) == set(State)
    for state in State:
        reached, edge = {state}, {state}
        while edge:
            edge = {following for at in edge for following in NEXT_STATES[at]} - reached
            reached |= edge
        assert reached & TERMINAL
        if state not in TERMINAL:
            assert State.FAILED in reached or State.CANCELLED in reached


def test_terminal_states_are_for_good() -> None:
    assert {State.COMPLETED, State.FAILED, State.EXPIRED, State.CANCELLED} == TERMINAL


def test_percent_is_a_hundred_only_at_the_end() -> None:
    assert Counts(total=3, completed=1, failed=1).percent == 66.6
    assert Counts(total=100_000, completed=99_999).percent == 99.9
    assert Counts(total=3, completed=1, failed=1, cancelled=1).percent == 100.0
    assert Counts().percent == 100.0


def test_times_are_rfc_3339_in_utc() -> None:
    assert iso_time(0) == "1970-01-01T00:00:00.000Z"
