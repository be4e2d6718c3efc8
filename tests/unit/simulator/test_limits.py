"""A gate lets a call into all of its limits or into none, and says truly which one stood in the way."""

from __future__ import annotations

import pytest

from worker.simulator.limits import NS, Cost, Counting, Gate, Limits, Scope

_CALL = Cost(input_tokens=60, output_tokens=40, declared_tokens=500)


def _gate(**limits: object) -> Gate:
    return Gate(Limits(**limits), start_ns=0)  # type: ignore[arg-type]


def _enter(gate: Gate, at_s: float, cost: Cost = _CALL) -> bool:
    now_ns = round(at_s * NS)
    if gate.refusal(now_ns, cost) is not None:
        return False
    gate.enter(now_ns, cost)
    gate.leave(now_ns, cost)
    return True


def test_a_bucket_that_refills_would_let_more_through_than_this_minute_does() -> None:
    gate = _gate(rpm=6)
    assert [_enter(gate, at_s) for at_s in (0, 0, 0, 0, 0, 0, 30, 59.999, 60)] == [True] * 6 + [False, False, True]
    assert gate.report()["requests"] == {"limit": 6, "max_in_window": 6, "refused": 2}
    assert gate.report()["offered_requests"] == {"max_in_window": 8}


def test_the_refusal_names_the_limit_that_lasts_longest() -> None:
    gate = _gate(rpm=1, tpd=150, day_s=1000)
    assert _enter(gate, 10)
    refused = gate.refusal(20 * NS, _CALL)
    assert refused is not None
    assert (refused.scope, refused.wait_ns) == (Scope.TOKENS_DAY, 980 * NS)
    assert _enter(gate, 1000)


def test_a_request_larger_than_the_limit_is_told_that_no_wait_helps() -> None:
    refused = _gate(tpm=99).refusal(0, _CALL)
    assert refused is not None
    assert refused.too_large
    assert refused.wait_ns is None


@pytest.mark.parametrize(
    ("counting", "charged"), [(Counting.ACTUAL, 100), (Counting.DECLARED, 560), (Counting.END, 100)]
)
def test_tokens_are_counted_as_configured(counting: Counting, charged: int) -> None:
    gate = _gate(tpm=10_000, counting=counting)
    gate.enter(0, _CALL)
    assert gate.gauges(0)[0].remaining == 10_000 - (60 if counting is Counting.END else charged)
    gate.leave(NS, _CALL)
    assert gate.gauges(NS)[0].remaining == 10_000 - charged


def test_concurrency_counts_calls_until_they_leave() -> None:
    gate = _gate(concurrency=2)
    gate.enter(0, _CALL)
    gate.enter(0, _CALL)
    refused = gate.refusal(0, _CALL)
    assert refused is not None
    assert refused.scope is Scope.CONCURRENCY
    gate.leave(1, _CALL)
    assert gate.refusal(1, _CALL) is None
    assert gate.report()["concurrency"] == {"limit": 2, "peak": 2, "refused": 1}


def test_limits_that_are_not_enforced_still_measure() -> None:
    gate = _gate(rpm=1, enforce=False)
    assert all(_enter(gate, 0) for _ in range(5))
    assert gate.report()["requests"]["max_in_window"] == 5


def test_new_limits_do_not_forget_what_was_let_in() -> None:
    gate = _gate(rpm=2)
    assert _enter(gate, 0)
    gate.change(Limits(rpm=1, tpm=1000))
    assert not _enter(gate, 59)
    assert _enter(gate, 60)
