"""What the admission script promises of requests that are granted ahead of a place, and stand by for the next free one.

Run on fakeredis and on a real server; the clock is the test's own.
"""

from __future__ import annotations

from tests.gatekit.scripted import Fleet, Job, Worker


def test_a_free_place_goes_to_who_stands_by_and_counts_once(fleet: Fleet) -> None:
    """Short calls come and go without a way to Redis in between; what the script counts is never passed."""
    fleet.allow("a", concurrency=2, rpm=600)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(9)))
    assert worker.ask(more=3).verdicts == "ggaaa"
    assert (fleet.state("a", "held"), fleet.state("a", "q.sum")) == (2, 5)
    worker.settle(worker.flying[0])
    worker.settle(worker.flying[0])
    worker.settle(worker.flying[0])
    assert (len(worker.flying), len(worker.standing)) == (2, 0)
    worker.ask(most=0)
    assert (fleet.state("a", "held"), fleet.state("a", "q.sum")) == (2, 5)


def test_who_was_not_needed_goes_back_to_the_line_and_costs_nothing(fleet: Fleet) -> None:
    fleet.allow("a", concurrency=1, rpm=600)
    worker = Worker(fleet, "w", "a")
    worker.add(Job(), Job(), Job())
    first = worker.waiting[1]
    worker.ask(more=1)
    fleet.pass_s(0.25)
    assert worker.ask().verdicts == ""
    assert (fleet.state("a", "q.sum"), worker.waiting[0]) == (1, first)


def test_standing_by_passes_nobody_who_came_before(fleet: Fleet) -> None:
    """Else a lane would hand its places on inside itself, and who has none would starve."""
    fleet.allow("a", concurrency=2)
    one, two = Worker(fleet, "one", "a"), Worker(fleet, "two", "a")
    one.add(*(Job() for _ in range(3)))
    assert one.ask(more=1).verdicts == "gga"
    fleet.pass_s(0.05)
    two.add(Job(), Job())
    assert two.ask(more=1).verdicts == "", "it has no place to hand on"
    fleet.pass_s(0.05)
    one.add(*(Job() for _ in range(3)))
    one.settle(one.flying[0])
    assert one.ask(more=1).verdicts == "", "the next turn is the other's"
    one.settle(one.flying[0])
    one.ask(more=1)
    assert two.ask(more=1).verdicts == "ga"
    fleet.pass_s(0.01)
    assert one.ask(more=1).verdicts == "a", "all who came before have gone or stand by"


def test_nobody_stands_by_during_a_pause_or_above_a_limit_that_was_lowered(fleet: Fleet) -> None:
    fleet.allow("a", concurrency=3)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(9)))
    assert worker.ask(more=2).verdicts == "gggaa"
    fleet.allow("a", concurrency=2)
    assert not worker.ask(more=2).may_stand
    worker.settle(worker.flying[0])
    assert len(worker.flying) == 2
    assert worker.ask(more=2).verdicts == "aa"
    fleet.pause("a", 1)
    worker.ask(more=2)
    worker.settle(worker.flying[0])
    assert len(worker.flying) == 1


def test_who_stands_by_charges_every_limit(fleet: Fleet) -> None:
    """A place that is handed on passes no other limit."""
    fleet.allow("a", concurrency=1, rpm=60, burst_ms=3000)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(9)))
    assert worker.ask(more=9).verdicts == "gaa", "a burst of three"


def test_no_budget_is_spent_by_standing_by(fleet: Fleet) -> None:
    fleet.allow("a", concurrency=1)
    fleet.allow("~b", budget=1000)
    worker = Worker(fleet, "w", "a", budgets=("~b",))
    worker.add(*(Job(nanousd=100, purse=2) for _ in range(3)))
    assert worker.ask(more=2).verdicts == "g"
