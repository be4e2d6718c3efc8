"""A line always comes to an end, within its attempts; what the provider told is a floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.failure import TABLE, Failure, Kind, Wait
from worker.backoff import backoff_s, told_s
from worker.decide import Decision, FallBack, GiveUp, Retry, Rules, Standing, WaitForRoute, decide

KINDS = st.sampled_from(list(Kind))
DRAWS = st.floats(0, 1, exclude_max=True)
RULES = st.builds(
    Rules,
    max_attempts=st.integers(1, 6),
    max_attempts_total=st.none() | st.integers(1, 10),
    fall_back_on_filter=st.booleans(),
    wait_for_quota=st.booleans(),
)


def standing(**changes: object) -> Standing:
    given: dict[str, object] = {"attempts_here": 1, "attempts_total": 1, "refusals_here": 0, "routes_left": 0}
    return Standing(**(given | changes))  # type: ignore[arg-type]


@given(st.lists(KINDS, min_size=60, max_size=60), RULES, st.integers(1, 4), DRAWS)
def test_attempts_never_exceed_their_budgets_and_the_line_ends(
    kinds: list[Kind], rules: Rules, routes: int, draw: float
) -> None:
    """Whatever comes back, in any order: only kinds that cost no attempt may go on for ever."""
    left, here, total, refusals, most_here = routes - 1, 0, 0, 0, 0
    decision: Decision = GiveUp()
    for kind in kinds:
        if TABLE[kind].costs_attempt:
            here, total = here + 1, total + 1
        else:
            refusals += 1
        most_here = max(most_here, here)
        decision = decide(Failure(kind, ""), Standing(here, total, refusals, left), rules, draw)
        match decision:
            case GiveUp():
                break
            case FallBack():
                left, here, refusals = left - 1, 0, 0
            case _:
                pass
    assert most_here <= rules.max_attempts
    assert left >= 0
    if rules.max_attempts_total is not None:
        assert total <= rules.max_attempts_total
    if all(TABLE[kind].costs_attempt for kind in kinds):
        assert isinstance(decision, GiveUp)


@given(st.floats(0, 10_000), DRAWS)
def test_told_delays_are_a_floor_beyond_the_cap(told: float, draw: float) -> None:
    failure = Failure(Kind.RATE_LIMIT, "", retry_after_s=told)
    decision = decide(failure, standing(), Rules(max_delay_s=0.5), draw)
    assert isinstance(decision, Retry)
    assert decision.after_s >= told
    assert decision.after_s <= max(0.5, told_s(told, 1))


@given(st.integers(1, 5000), DRAWS)
def test_backoff_has_a_cap_and_full_jitter(failures: int, draw: float) -> None:
    assert 0 <= backoff_s(failures, 0.5, 30, draw) <= 30
    assert backoff_s(failures, 0.5, 30, 0.0) == 0


def test_four_attempts_are_four_calls_not_four_retries() -> None:
    failure = Failure(Kind.SERVER_ERROR, "")
    made = [decide(failure, standing(attempts_here=n), Rules(max_attempts=4), 0.5) for n in (1, 2, 3, 4)]
    assert [type(decision) for decision in made] == [Retry, Retry, Retry, GiveUp]


def test_an_exhausted_account_waits_falls_back_or_fails_as_asked() -> None:
    failure = Failure(Kind.ACCOUNT_EXHAUSTED, "")
    assert decide(failure, standing(), Rules(wait_for_quota=True), 0) == WaitForRoute()
    assert decide(failure, standing(), Rules(wait_for_quota=False), 0) == GiveUp()
    assert decide(failure, standing(routes_left=1), Rules(), 0) == FallBack()


def test_a_refusal_falls_back_only_when_the_plan_says_so() -> None:
    for kind in (Kind.CONTENT_FILTER, Kind.REFUSAL):
        assert decide(Failure(kind, ""), standing(routes_left=1), Rules(), 0) == GiveUp()
        assert decide(Failure(kind, ""), standing(routes_left=1), Rules(fall_back_on_filter=True), 0) == FallBack()


def test_a_call_that_may_have_been_billed_is_not_blindly_repeated() -> None:
    failure = Failure(Kind.TIMEOUT_AFTER_SEND, "")
    assert decide(failure, standing(repeats_safely=False), Rules(), 0) == GiveUp()
    assert decide(failure, standing(repeats_safely=False, routes_left=1), Rules(), 0) == FallBack()


def test_a_wait_beyond_the_deadline_goes_elsewhere_where_it_can() -> None:
    failure = Failure(Kind.RATE_LIMIT, "", retry_after_s=100)
    assert decide(failure, standing(routes_left=1, time_left_s=50.0), Rules(), 0) == FallBack()
    assert isinstance(decide(failure, standing(routes_left=0, time_left_s=50.0), Rules(), 0), Retry)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_its_row_and_its_sentence(kind: Kind) -> None:
    row = TABLE[kind]
    assert row.sentence.endswith(".")
    assert row.wait is not Wait.OPERATOR or not row.costs_attempt
