"""A line always comes to an end, within its attempts; what the provider told is a floor."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.catalog import Limits, Plan, Provider, Route
from bucketline.failure import TABLE, Failure, Kind, Wait
from bucketline.outcome import Attempt, Cost
from bucketline.request import Form, Request
from worker.backoff import backoff_s, told_s
from worker.decide import FallBack, GiveUp, Retry, Rules, Standing, WaitForRoute, attempt_timeout_s, decide
from worker.life import Life

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


def a_plan(routes: int) -> Plan:
    provider = Provider("p", "openai", "http://127.0.0.1", None, None, "p", Limits(), {}, {}, "p", "auto")
    return Plan("m", tuple(Route(provider, f"m{n}", context_tokens=1000 * (n + 1)) for n in range(routes)))


def an_attempt(kind: Kind) -> Attempt:
    return Attempt("p", "m", kind.value, None, 0.0, 1.0, None, Cost(), TABLE[kind].billed)


@given(st.lists(KINDS, min_size=80, max_size=80), st.lists(st.booleans(), min_size=80), RULES, st.integers(1, 4), DRAWS)
def test_attempts_never_exceed_their_budgets_and_the_line_ends(
    kinds: list[Kind], probes: list[bool], rules: Rules, routes: int, draw: float
) -> None:
    """Whatever comes back, in any order, on any route: only kinds that cost no attempt may go on for ever."""
    life, plan, now_s = Life(Request(1, 1, Form.CHAT, "m", b"{}", {})), a_plan(routes), 0.0
    life.order = tuple(range(routes))
    counted: Counter[int] = Counter()
    ended = False
    for kind, probe in zip(kinds, probes, strict=False):
        now_s += life.ready_in_s(now_s) or 0.0
        candidates = life.candidates(now_s)
        assert candidates, "a line that goes on has a route"
        life.enter_route(candidates[0])
        failure, spared = Failure(kind, ""), probe and TABLE[kind].hurts_health
        life.note(an_attempt(kind), failure, is_probe=probe)
        counted[life.route] += TABLE[kind].costs_attempt and not spared
        if kind is Kind.CONTEXT_TOO_LONG:
            life.leave_smaller(plan, 10)
        match decide(failure, life.standing(None), rules, draw):
            case GiveUp():
                ended = True
                break
            case FallBack(for_s):
                life.leave_route(None if for_s is None else now_s + for_s)
            case _:
                pass
    assert max(counted.values()) <= rules.max_attempts
    assert life.counted == counted.total()
    if rules.max_attempts_total is not None:
        assert counted.total() <= rules.max_attempts_total
    if all(TABLE[kind].costs_attempt for kind in kinds) and not any(probes):
        assert ended


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
    back_when_open = FallBack(0.0)
    assert decide(failure, standing(routes_left=1), Rules(), 0) == back_when_open
    assert decide(failure, standing(routes_left=1), Rules(wait_for_quota=False), 0) == back_when_open


def test_a_spent_day_is_waited_out_whatever_was_said_about_empty_accounts() -> None:
    failure = Failure(Kind.DAILY_QUOTA, "")
    assert decide(failure, standing(), Rules(wait_for_quota=False), 0) == WaitForRoute()


def test_a_refusal_falls_back_only_when_the_plan_says_so() -> None:
    for kind in (Kind.CONTENT_FILTER, Kind.REFUSAL):
        assert decide(Failure(kind, ""), standing(routes_left=1), Rules(), 0) == GiveUp()
        assert decide(Failure(kind, ""), standing(routes_left=1), Rules(fall_back_on_filter=True), 0) == FallBack()


@pytest.mark.parametrize("kind", [Kind.TIMEOUT_AFTER_SEND, Kind.CONNECTION_LOST, Kind.CUT_BODY])
def test_a_call_that_may_have_been_billed_is_not_blindly_repeated(kind: Kind) -> None:
    failure = Failure(kind, "")
    assert decide(failure, standing(repeats_safely=False), Rules(), 0) == GiveUp()
    assert decide(failure, standing(repeats_safely=False, routes_left=1), Rules(), 0) == FallBack()
    assert isinstance(decide(failure, standing(), Rules(), 0), Retry)
    assert isinstance(decide(Failure(Kind.SERVER_ERROR, ""), standing(repeats_safely=False), Rules(), 0), Retry)


def test_a_wait_beyond_the_deadline_goes_elsewhere_where_it_can() -> None:
    failure = Failure(Kind.RATE_LIMIT, "", retry_after_s=100)
    assert decide(failure, standing(routes_left=1, time_left_s=50.0), Rules(), 0) == FallBack(100.0)
    assert isinstance(decide(failure, standing(routes_left=0, time_left_s=50.0), Rules(), 0), Retry)


def test_a_told_wait_beyond_the_plans_patience_goes_elsewhere_and_comes_back() -> None:
    """Where it spills over: else every line sits out a refusal for speed while another route has room."""
    failure = Failure(Kind.RATE_LIMIT, "", retry_after_s=100)
    assert decide(failure, standing(routes_left=1), Rules(spill_after_s=30.0), 0) == FallBack(100.0)
    assert isinstance(decide(failure, standing(routes_left=1), Rules(spill_after_s=200.0), 0), Retry)
    assert isinstance(decide(failure, standing(routes_left=1), Rules(), 0), Retry)


def test_a_line_that_keeps_failing_through_a_very_long_outage_comes_to_an_end() -> None:
    failure = Failure(Kind.SERVER_ERROR, "")
    waiting = standing(attempts_here=2, refusals_here=2)
    assert isinstance(decide(failure, waiting, Rules(), 0), Retry)
    assert decide(failure, standing(attempts_here=2, refusals_here=2, hopeless=True), Rules(), 0) == GiveUp()
    assert decide(failure, standing(routes_left=1, hopeless=True), Rules(), 0) == FallBack()


def test_a_hanging_route_cannot_take_the_next_ones_time() -> None:
    assert attempt_timeout_s(600, 90, 2) == 30
    assert attempt_timeout_s(20, 90, 0) == 20
    assert attempt_timeout_s(600, 90, 0) == 90
    assert attempt_timeout_s(600, 8, 3) == 5
    assert attempt_timeout_s(600, 2, 3) == 2
    assert attempt_timeout_s(600, -1, 0) > 0


def test_a_prompt_that_did_not_fit_leaves_every_route_that_holds_no_more() -> None:
    life, plan = Life(Request(1, 1, Form.CHAT, "m", b"{}", {})), a_plan(4)
    life.order = (1, 0, 2, 3)
    life.enter_route(1)
    life.leave_smaller(plan, likely_tokens=3500)
    assert list(life.candidates(0.0)) == [3]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_its_row_and_its_sentence(kind: Kind) -> None:
    row = TABLE[kind]
    assert row.sentence.endswith(".")
    assert row.wait is not Wait.OPERATOR or not row.costs_attempt
