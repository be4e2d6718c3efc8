"""A script of bad days begins and ends when it says."""

from __future__ import annotations

import pytest

from worker.simulator.faults import Fault, Weather
from worker.simulator.limits import NS
from worker.simulator.phases import Phase, PhaseKind, Timeline

_USUAL = Weather({Fault.CUT: 0.1}, latency_s=1.0)


def test_a_phase_of_the_clock_lasts_from_its_start_to_its_end() -> None:
    timeline = Timeline([Phase(PhaseKind.DEAD, from_s=10, for_s=5)], start_ns=100 * NS)
    rates = [timeline.weather(_USUAL, at_s * NS, 1).rates for at_s in (109, 110, 114, 115)]
    assert rates == [_USUAL.rates, {Fault.DROPPED: 1.0}, {Fault.DROPPED: 1.0}, _USUAL.rates]


def test_a_phase_of_the_calls_begins_with_the_next_one_and_ends_by_the_clock() -> None:
    timeline = Timeline([Phase(PhaseKind.SLOW, after_calls=3, for_s=2, factor=4)], start_ns=0)
    seen = [timeline.weather(_USUAL, ns, calls).latency_s for ns, calls in ((NS, 3), (5 * NS, 4), (7 * NS, 5))]
    assert seen == [1.0, 4.0, 1.0]


def test_recovering_fades() -> None:
    timeline = Timeline([Phase(PhaseKind.RECOVERING, from_s=0, for_s=10, share=0.8)], start_ns=0)
    assert timeline.weather(_USUAL, 0, 1).rates == {Fault.ERROR_503: 0.8}
    assert timeline.weather(_USUAL, 5 * NS, 1).rates[Fault.ERROR_503] == pytest.approx(0.4)


def test_an_exhausted_account_is_exhausted_until_it_is_topped_up() -> None:
    timeline = Timeline([Phase(PhaseKind.EXHAUSTED, after_calls=1), Phase(PhaseKind.SLOW, from_s=0)], start_ns=0)
    assert not timeline.exhausted(0, 1)
    assert timeline.exhausted(1, 2)
    assert timeline.weather(_USUAL, 1, 2).latency_s == 10.0
    timeline.top_up()
    assert not timeline.exhausted(2, 3)


def test_rubbish_is_a_quarter_of_each_kind() -> None:
    rates = Timeline([Phase(PhaseKind.RUBBISH, from_s=0, share=0.4)], start_ns=0).weather(_USUAL, 0, 1).rates
    assert rates == dict.fromkeys((Fault.BROKEN, Fault.HTML, Fault.ERROR_200, Fault.EMPTY), 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": PhaseKind.DEAD},
        {"kind": PhaseKind.DEAD, "from_s": 1, "after_calls": 1},
        {"kind": PhaseKind.WEATHER, "from_s": 1},
        {"kind": PhaseKind.RECOVERING, "from_s": 1},
        {"kind": PhaseKind.DEAD, "from_s": 1, "share": 2},
    ],
)
def test_a_phase_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="phase"):
        Phase(**wrong)  # type: ignore[arg-type]
