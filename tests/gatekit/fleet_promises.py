"""What the admission script promises the whole fleet: pauses, order, figures that change, clocks and losses.

Run on fakeredis and on a real server; the clock is the test's own.
"""

from __future__ import annotations

import pytest

from bucketline import keys
from tests.gatekit.promises import fullest_minute, went
from tests.gatekit.scripted import Fleet, Job, S, Worker


def test_a_pause_holds_for_the_whole_fleet_until_its_moment(fleet: Fleet) -> None:
    fleet.allow("a", rpm=6000)
    one, two = Worker(fleet, "one", "a"), Worker(fleet, "two", "a")
    fleet.pause("a", 7.5)
    for worker in (one, two):
        worker.add(Job())
        assert worker.ask().reason == "paused"
    fleet.pass_s(7.4)
    assert one.ask().verdicts == ""
    fleet.pause("a", 0.01)
    fleet.pass_s(0.11)
    assert one.ask().verdicts == "g"
    assert two.ask().verdicts == "g"


def test_a_shorter_pause_does_not_cut_a_longer_one(fleet: Fleet) -> None:
    fleet.allow("a", rpm=6000)
    worker = Worker(fleet, "w", "a")
    worker.add(Job())
    fleet.pause("a", 60)
    fleet.pause("a", 1)
    fleet.pass_s(59)
    assert worker.ask().verdicts == ""


def test_a_large_request_is_not_starved_by_small_ones(fleet: Fleet) -> None:
    """Small requests of another worker always fit; they wait, since the large one came first."""
    fleet.allow("a", tpm=60_000)
    large, small = Worker(fleet, "large", "a"), Worker(fleet, "small", "a")
    small.add(*(Job(100) for _ in range(110)))
    for _ in range(100):
        small.ask()
        fleet.pass_s(0.1)
    large.add(Job(50_000))
    for _ in range(700):
        large.ask()
        small.add(Job(100))
        small.ask()
        fleet.pass_s(0.1)
        if large.flying:
            break
    assert large.flying
    assert (large.flying[0].went_us - large.flying[0].came_us) / S <= 65


def test_larger_than_the_whole_limit_goes_alone_and_leaves_a_debt(fleet: Fleet) -> None:
    fleet.allow("a", tpm=6000)
    worker = Worker(fleet, "w", "a")
    worker.add(Job(10), Job(9000), Job(10))
    times = went(worker, 200, 0.25)
    assert len(times) == 3
    assert times[1] <= 61.5, "when the window is empty"
    assert times[2] - times[1] <= 60 * 9000 / 6000 + 2, "no longer than the debt"
    assert times[2] - times[1] >= 60


def test_refunds_go_back_into_the_flow(fleet: Fleet) -> None:
    """Estimates that are four times too high must not leave three quarters of the allowance unused."""
    fleet.allow("a", tpm=60_000)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job(0, 400) for _ in range(3000)))
    used = 0
    for tick in range(600):
        worker.ask()
        fleet.pass_s(0.25)
        for job in list(worker.flying):
            worker.settle(job, output_tokens=100)
            used += 100 if tick >= 240 else 0
    assert used >= 0.92 * 1.5 * 60_000


def test_what_calls_used_above_the_estimate_is_taken_from_the_flow(fleet: Fleet) -> None:
    fleet.allow("a", tpm=60_000)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job(0, 100) for _ in range(3000)))
    used: list[tuple[float, int]] = []
    for _ in range(600):
        worker.ask()
        fleet.pass_s(0.25)
        for job in list(worker.flying):
            worker.settle(job, output_tokens=200)
            used.append((job.went_us / S, 200))
    fullest = max(sum(n for other, n in used if time - 60 < other <= time) for time, _ in used[::20])
    assert fullest <= 60_000 + 1000, "above the limit at most by what was in flight when it was estimated short"


def test_a_higher_priority_goes_first_and_equals_in_order_of_arrival(fleet: Fleet) -> None:
    fleet.allow("a", rpm=60)
    filler, low, early, late = (
        Worker(fleet, "filler", "a"),
        Worker(fleet, "low", "a", priority=-1),
        Worker(fleet, "early", "a"),
        Worker(fleet, "late", "a"),
    )
    filler.add(Job())
    filler.ask()
    order = []
    for worker in (low, early, late):
        fleet.pass_s(0.01)
        worker.add(Job())
        worker.ask()
    for _ in range(40):
        fleet.pass_s(0.1)
        order += [worker.name for worker in (late, low, early) if worker.waiting and worker.ask().verdicts == "g"]
    assert order == ["early", "late", "low"]


def test_who_stops_asking_holds_nobody_back(fleet: Fleet) -> None:
    fleet.allow("a", rpm=60)
    gone, here = Worker(fleet, "gone", "a"), Worker(fleet, "here", "a")
    gone.add(Job(), Job())
    gone.ask()
    fleet.pass_s(0.01)
    here.add(Job())
    fleet.pass_s(1.5)
    assert here.ask().verdicts == ""
    fleet.pass_s(1)
    assert here.ask().verdicts == "g"


def test_figures_that_are_set_live_beat_the_configuration_and_survive_it(fleet: Fleet) -> None:
    fleet.allow("a", concurrency=1)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(5)))
    worker.ask()
    fleet.write("a", "set", concurrency=3)
    worker.ask()
    assert len(worker.flying) == 3
    fleet.allow("a", concurrency=1)
    worker.settle(worker.flying[0])
    worker.ask()
    assert len(worker.flying) == 3, "a worker that starts anew writes its configuration, not over the operator"
    fleet.write("a", "set", concurrency="")
    worker.settle(worker.flying[0])
    worker.ask()
    assert len(worker.flying) == 2


def test_the_providers_word_lowers_a_figure_and_never_raises_it(fleet: Fleet) -> None:
    fleet.allow("a", rpm=600)
    assert fleet.write("a", "seen", rpm=60)[:2] == [b"rpm", b"60"]
    assert fleet.write("a", "seen", rpm=9000)[:2] == [b"rpm", b"600"]


def test_what_a_provider_says_is_left_lowers_the_bucket(fleet: Fleet) -> None:
    fleet.allow("a", rpm=600)
    worker = Worker(fleet, "w", "a")
    worker.ask()
    fleet.lower("a", "rpm", "q", 3)
    worker.add(*(Job() for _ in range(20)))
    assert worker.ask().verdicts == "ggg"
    fleet.lower("a", "rpm", "q", 500)
    assert worker.ask().verdicts == "", "never upwards"
    fleet.lower("a", "rpm", "q", 0)
    fleet.pass_s(0.9)
    assert worker.ask().verdicts == "", "nothing left: about a second of the flow is left out"


def test_unknown_limits_are_found_by_halving_and_adding_one(fleet: Fleet) -> None:
    fleet.allow("a")
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(100)))
    worker.ask()
    assert len(worker.flying) == 100
    fleet.pause("a", 0, holding=100)
    fleet.pause("a", 0, holding=100)
    assert fleet.state("a", "aimd") == 50, "refused together, halved once"
    for job in worker.flying[:60]:
        worker.settle(job)
    worker.add(*(Job() for _ in range(100)))
    worker.ask()
    assert fleet.state("a", "aimd") == 51
    assert len(worker.flying) == 51
    fleet.write("a", "set", concurrency=80)
    worker.ask()
    assert len(worker.flying) == 80, "an operator knows better"


def test_known_limits_are_not_halved(fleet: Fleet) -> None:
    fleet.allow("a", rpm=600)
    fleet.pause("a", 1, holding=100)
    assert fleet.state("a", "aimd") is None


def test_a_server_clock_that_goes_back_forgets_nothing_and_stops_nobody(fleet: Fleet) -> None:
    fleet.allow("a", rpm=60)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(500)))
    true: list[float] = []
    time = 0.0
    for tick in range(960):
        if tick == 360:
            fleet.pass_s(-3600)
        before = len(worker.flying)
        worker.ask()
        true += [time] * (len(worker.flying) - before)
        fleet.pass_s(0.25)
        time += 0.25
    assert fullest_minute(true) <= 60
    assert len([t for t in true if t > 160]) >= 60


def test_after_redis_was_emptied_the_flow_goes_on_evenly_from_an_empty_bucket(fleet: Fleet) -> None:
    """What was used before is unknown then; the flow was even, so going on evenly keeps every window."""
    fleet.allow("a", rpm=600)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(2000)))
    went(worker, 30, 0.25)
    fleet.client.flushall()
    with pytest.raises(KeyError):
        worker.ask()
    fleet.allow("a", rpm=600)
    times = went(worker, 90, 0.25)
    assert fullest_minute(times) <= 600


def test_the_servers_own_clock_is_taken_where_no_time_is_given(fleet: Fleet) -> None:
    fleet.allow("a", rpm=600)
    seconds, micros = fleet.client.time()  # type: ignore[misc]
    raw = fleet.scripts["admit"](
        keys=[keys.limit_figures("a"), keys.gate_state("a"), keys.gate_line("a"), keys.gate_leases("a")],
        args=["", "w", 1, "1 1 1 0 0 0 0", f"0 {2**53 - 1} 0", "", "1 1 0 0"],
    )
    assert raw[0] == b"g"
    assert abs(raw[3] - (seconds * S + micros)) < 60 * S
