"""What the admission script promises, dimension by dimension; run on fakeredis and on a real server.

The clock is the test's own, so a minute passes at once. Each test names the limit that bites and what follows.
"""

from __future__ import annotations

import pytest

from tests.gatekit.scripted import START_US, Fleet, Job, S, Worker
from worker.limiter.daily import next_reset_s


def went(worker: Worker, seconds: float, step_s: float = 0.1) -> list[float]:
    """Ask again and again for so long; when each job went, in seconds from the start."""
    until = worker.fleet.now_us + round(seconds * S)
    while worker.fleet.now_us < until:
        worker.ask()
        worker.fleet.pass_s(step_s)
    return [(job.went_us - START_US) / S for job in worker.flying]


def fullest_minute(times: list[float]) -> int:
    return max((sum(1 for other in times if time - 60 < other <= time) for time in times), default=0)


def test_requests_per_minute_bite_in_every_sliding_minute_and_are_used_up(fleet: Fleet) -> None:
    """A bucket of the whole minute would let twice the limit through around its edge."""
    fleet.allow("a", rpm=120)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(1000)))
    times = went(worker, 180, 0.25)
    assert fullest_minute(times) <= 120
    assert len([time for time in times if 60 <= time < 180]) >= 0.97 * 2 * 120


def test_requests_leave_evenly_and_not_as_a_minutes_burst(fleet: Fleet) -> None:
    fleet.allow("a", rpm=600, burst_ms=1000)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job() for _ in range(600)))
    times = went(worker, 20)
    assert max(sum(1 for other in times if time <= other < time + 1) for time in times) <= 2 * 10 + 1


@pytest.mark.parametrize(
    ("figure", "job"),
    [
        ("tpm", Job(input_tokens=60, output_tokens=40)),
        ("input_tpm", Job(input_tokens=100, output_tokens=7)),
        ("output_tpm", Job(input_tokens=7, output_tokens=100)),
    ],
)
def test_each_token_limit_bites_and_is_used_up(fleet: Fleet, figure: str, job: Job) -> None:
    fleet.allow("a", **{figure: 60_000})
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job(job.input_tokens, job.output_tokens) for _ in range(2000)))
    times: list[float] = []
    for _ in range(600):
        worker.ask()
        fleet.pass_s(0.25)
        for flying in list(worker.flying):
            worker.settle(flying)
            times.append((flying.went_us - START_US) / S)
    assert fullest_minute(times) <= 600
    assert len([time for time in times if 60 <= time < 150]) >= 0.95 * 1.5 * 600


def test_output_counted_when_calls_end_keeps_the_limit_too(fleet: Fleet) -> None:
    """Anthropic meters output as it is written: calls that begin apart may end together."""
    fleet.allow("a", output_tpm=6_000)
    worker = Worker(fleet, "w", "a")
    worker.add(*(Job(0, 100) for _ in range(500)))
    ends: list[float] = []
    for tick in range(600):
        worker.ask()
        fleet.pass_s(0.25)
        if tick % 16 == 0:  # every four seconds, all that are in flight end at once
            for job in list(worker.flying):
                worker.settle(job)
                ends.append(fleet.now_us / S)
    assert fullest_minute(ends) <= 60
    assert len(ends) >= 0.9 * 2.5 * 60 * 60 / 65


@pytest.mark.parametrize(("figures", "fits"), [({"rpd": 7}, 7), ({"tpd": 750}, 7)])
def test_daily_limits_bite_until_the_providers_own_midnight(fleet: Fleet, figures: dict[str, int], fits: int) -> None:
    fleet.allow("a", **figures)
    worker = Worker(fleet, "w", "a")
    worker.reset_us = round(next_reset_s(START_US / S, 0, "America/Los_Angeles") * S)
    worker.add(*(Job(60, 40) for _ in range(20)))
    answer = worker.ask()
    assert len(worker.flying) == fits
    assert answer.reason in {"requests_day", "tokens_day"}
    fleet.now_us = worker.reset_us - S
    worker.ask()
    assert len(worker.flying) == fits
    fleet.now_us = worker.reset_us
    worker.reset_us += 86_400 * S
    worker.ask()
    assert len(worker.flying) == 2 * fits


def test_a_day_that_was_settled_after_its_end_gives_nothing_to_the_next(fleet: Fleet) -> None:
    fleet.allow("a", tpd=1000)
    worker = Worker(fleet, "w", "a")
    worker.add(Job(100, 900), Job(100, 900), Job(100, 900))
    worker.ask()
    fleet.now_us = worker.reset_us
    worker.reset_us += 86_400 * S
    worker.ask()
    assert len(worker.flying) == 2
    worker.settle(worker.flying[0], output_tokens=0)
    worker.ask()
    assert len(worker.flying) == 1, "the refund belongs to yesterday"


def test_calls_in_flight_bite_and_come_back_with_settlement_and_release(fleet: Fleet) -> None:
    fleet.allow("a", concurrency=3)
    one, two = Worker(fleet, "one", "a"), Worker(fleet, "two", "a")
    one.add(*(Job() for _ in range(5)))
    two.add(*(Job() for _ in range(5)))
    one.ask()
    two.ask()
    assert (len(one.flying), len(two.flying)) == (3, 0)
    one.settle(one.flying[0])
    one.give_back(one.flying[0])
    fleet.pass_s(0.5)
    one.ask(most=0)
    two.ask()
    assert (len(one.flying), len(two.flying)) == (1, 2)


def test_a_dead_workers_calls_are_free_again_within_twenty_seconds(fleet: Fleet) -> None:
    fleet.allow("a", concurrency=4)
    dead, alive = Worker(fleet, "dead", "a"), Worker(fleet, "alive", "a")
    dead.add(*(Job() for _ in range(4)))
    dead.ask()
    alive.add(*(Job() for _ in range(4)))
    for _ in range(20):
        alive.ask()
        fleet.pass_s(1)
    assert len(alive.flying) == 4


def test_a_lost_answer_leaves_no_call_in_flight(fleet: Fleet) -> None:
    """The worker never learns of a grant when the connection breaks; its next word on what it holds heals the count."""
    fleet.allow("a", concurrency=2)
    worker = Worker(fleet, "w", "a")
    worker.add(Job(), Job())
    worker.ask()
    worker.flying.clear()
    worker.add(Job(), Job())
    worker.ask()
    assert len(worker.flying) == 2


def test_a_settlement_that_arrives_twice_counts_once(fleet: Fleet) -> None:
    fleet.allow("a", tpm=100_000)
    worker = Worker(fleet, "w", "a")
    worker.add(Job(100, 400))
    worker.ask()
    worker.settle(worker.flying[0], output_tokens=100)
    sums = dict(worker.settled)
    worker.ask()
    worker.settled, worker.sequence = sums, worker.sequence - 1
    worker.ask()
    assert fleet.state("a", "t.sum") == 200


def test_money_is_reserved_and_settled_and_never_passes_the_budget(fleet: Fleet) -> None:
    fleet.allow("a", rpm=60_000)
    fleet.allow("~b", budget=1000)
    worker = Worker(fleet, "w", "a", budgets=("~b",))
    worker.add(*(Job(nanousd=300, purse=2) for _ in range(4)))
    assert worker.ask().verdicts == "gggb", "the fourth waits for what the others leave"
    worker.settle(worker.flying[0], nanousd=100)
    assert worker.ask().verdicts == "g"
    for job in list(worker.flying):
        worker.settle(job, nanousd=300)
    worker.ask()
    assert fleet.state("~b", "usd") == 1000
    worker.add(Job(nanousd=1, purse=2), Job())
    assert worker.ask().verdicts == "xg", "nothing is left, which holds back nobody else"


def test_a_short_budget_holds_back_no_other_batch(fleet: Fleet) -> None:
    fleet.allow("a", rpm=60_000)
    fleet.allow("~b", budget=10)
    worker = Worker(fleet, "w", "a", budgets=("~b",))
    worker.add(Job(nanousd=300, purse=2), Job(), Job())
    assert worker.ask().verdicts == "xgg"


def test_all_scopes_of_a_request_or_none(fleet: Fleet) -> None:
    fleet.allow("a", rpm=60_000)
    fleet.allow("a/m", concurrency=1)
    worker = Worker(fleet, "w", "a", "a/m")
    worker.add(Job(), Job())
    answer = worker.ask()
    assert (answer.verdicts, answer.reason, answer.scope) == ("g", "concurrency", 2)
    assert fleet.state("a", "q.sum") == 1


def test_a_model_that_waits_for_its_own_limit_holds_back_no_other_model(fleet: Fleet) -> None:
    fleet.allow("a", rpm=60_000)
    fleet.allow("a/slow", concurrency=1)
    fleet.allow("a/fast", concurrency=9)
    slow, fast = Worker(fleet, "slow", "a", "a/slow"), Worker(fleet, "fast", "a", "a/fast")
    slow.add(Job(), Job())
    slow.ask()
    fleet.pass_s(0.1)
    fast.add(Job(), Job())
    assert fast.ask().verdicts == "gg"
