"""A storm's plan is a function of its seed, and stays inside what is promised."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.plan import Fault, make_plan, quiet_s

LEASE_S = 15.0


@given(st.integers(0, 10_000))
def test_plans_repeat_and_spare_who_must_live(seed: int) -> None:
    plan = make_plan(seed, faults=36, over_s=200.0, workers=3, lease_s=LEASE_S)
    assert plan == make_plan(seed, faults=36, over_s=200.0, workers=3, lease_s=LEASE_S)
    assert len(plan) == 36
    assert [strike.at_s for strike in plan] == sorted(strike.at_s for strike in plan)
    deadly = {Fault.KILL, Fault.STOP, Fault.TERM, Fault.CLOCK}
    for place, strike in enumerate(plan):
        if strike.fault in {Fault.REDIS_BACK, Fault.REDIS_EMPTY}:
            after = [one for one in plan[place + 1 :] if one.at_s < strike.at_s + LEASE_S]
            assert not any(one.fault in deadly for one in after)


@given(st.integers(0, 1000))
def test_two_kills_stand_alone(seed: int) -> None:
    plan = make_plan(seed, faults=36, over_s=200.0, workers=3, lease_s=LEASE_S)
    alone = 0
    for strike in plan:
        until_s = strike.at_s + quiet_s(LEASE_S)
        others = [one for one in plan if one is not strike]
        if strike.fault is Fault.KILL:
            alone += not any(one.at_s < until_s and one.at_s + one.for_s > strike.at_s for one in others)
    assert alone >= 2
