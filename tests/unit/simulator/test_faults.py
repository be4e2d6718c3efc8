"""The weather falls by seed: the same for the same request, whatever else happens."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulator.dice import Dice, identity_of, key_of
from worker.simulator.faults import BILL, Fault, Weather, forecast

_RATES = {Fault.LIMITED: 0.05, Fault.ERROR_500: 0.02, Fault.CUT: 0.01}


def _dice(seed: int, request: int, nth: int = 0) -> Dice:
    return Dice(key_of(seed, "alpha"), identity_of(key_of(seed), "/v1/x", b"%d" % request), nth, 1)


@given(st.integers(0, 2**64), st.integers(0, 10**9), st.integers(0, 50))
def test_the_same_seed_request_and_turn_bring_the_same_weather(seed: int, request: int, nth: int) -> None:
    weather = Weather(_RATES, latency_s=1, sigma=0.5, tail=0.1)
    first = forecast(weather, _dice(seed, request, nth), 10)
    assert forecast(weather, _dice(seed, request, nth), 10) == first
    assert 0 < first.latency_s <= weather.max_latency_s


def test_another_turn_of_a_request_is_another_throw() -> None:
    """Otherwise a request that fails once would fail for ever."""
    weather = Weather({Fault.ERROR_500: 0.5})
    assert len({forecast(weather, _dice(1, 1, nth), 0).fault for nth in range(20)}) == 2


def test_faults_come_as_often_as_their_rates_say() -> None:
    weather = Weather(_RATES)
    seen = Counter(forecast(weather, _dice(7, request), 0).fault for request in range(20_000))
    for fault, rate in _RATES.items():
        assert seen[fault] / 20_000 == pytest.approx(rate, rel=0.2)
    assert seen[None] / 20_000 == pytest.approx(0.92, rel=0.02)


def test_the_order_in_which_rates_are_written_changes_nothing() -> None:
    backwards = Weather(dict(reversed(_RATES.items())))
    for request in range(500):
        assert forecast(Weather(_RATES), _dice(7, request), 0) == forecast(backwards, _dice(7, request), 0)


def test_the_median_latency_is_the_one_asked_for_and_the_tail_is_heavy() -> None:
    weather = Weather(latency_s=0.6, sigma=0.4, tail=0.03, tail_alpha=1.2)
    latencies = sorted(forecast(weather, _dice(3, request), 0).latency_s for request in range(5000))
    assert latencies[2500] == pytest.approx(0.6, rel=0.05)
    assert latencies[-10] > 5 * latencies[2500]


def test_every_fault_says_what_it_costs() -> None:
    assert set(BILL) == set(Fault)


def test_rates_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        Weather({Fault.CUT: 0.7, Fault.LOST: 0.7})
