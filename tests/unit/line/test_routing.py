"""Every policy keeps the socket's promises; each then has its own."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.catalog import Limits, Plan, Provider, Route
from bucketline.settings import Policy as PolicyName
from worker.routing import POLICIES, Facts, RouteFacts
from worker.routing.fastest import EXPLORE

DRAWS = st.floats(0, 1, exclude_max=True)
MAYBE_PRICE = st.none() | st.integers(0, 10**12)
MAYBE_LATENCY = st.none() | st.floats(0, 600)
MAYBE_SHARE = st.none() | st.floats(0, 1)


def a_route(number: int, *, weight: float = 1.0, quality: float | None = None) -> Route:
    provider = Provider(
        f"p{number}", "openai", "http://127.0.0.1", None, None, f"p{number}", Limits(), {}, {}, f"p{number}", "auto"
    )
    return Route(provider, "m", weight=weight, quality=quality)


@st.composite
def plans_and_facts(draw: st.DrawFn) -> tuple[Plan, Facts]:
    count = draw(st.integers(1, 6))
    weights = st.floats(0, 100)
    routes = tuple(a_route(n, weight=draw(weights), quality=draw(st.none() | st.floats(0, 10))) for n in range(count))
    known = tuple(RouteFacts(draw(MAYBE_PRICE), draw(MAYBE_LATENCY), draw(MAYBE_SHARE)) for _ in routes)
    return Plan("m", routes), Facts(known, draw(st.none() | st.floats(0, 10)))


def test_every_policy_of_the_configuration_is_there_and_no_other() -> None:
    assert set(POLICIES) == set(get_args(PolicyName))


@pytest.mark.parametrize("name", POLICIES)
@given(plans_and_facts(), DRAWS)
def test_an_order_names_each_route_once_at_most_and_depends_on_nothing_else(
    name: str, given_: tuple[Plan, Facts], draw: float
) -> None:
    """A route named twice would be tried twice over its budget; one out of range would sink the line."""
    plan, facts = given_
    chosen = POLICIES[name](plan, facts, draw)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(range(len(plan.routes)))
    assert chosen == POLICIES[name](plan, facts, draw)


@pytest.mark.parametrize("name", POLICIES)
@given(plans_and_facts(), DRAWS)
def test_only_a_least_quality_may_leave_a_route_out(name: str, given_: tuple[Plan, Facts], draw: float) -> None:
    plan, facts = given_
    chosen = POLICIES[name](plan, Facts(facts.routes, None), draw)
    assert sorted(chosen) == list(range(len(plan.routes)))


def order_of(name: str, routes: list[Route], known: list[RouteFacts], draw: float = 0.9, **facts: float) -> list[int]:
    return list(POLICIES[name](Plan("m", tuple(routes)), Facts(tuple(known), **facts), draw))


def test_cheapest_puts_an_unknown_price_last_and_keeps_the_plan_among_equals() -> None:
    routes = [a_route(n) for n in range(4)]
    known = [RouteFacts(None), RouteFacts(20), RouteFacts(10), RouteFacts(20)]
    assert order_of("cheapest", routes, known) == [2, 1, 3, 0]


def test_fastest_counts_failed_calls_as_time_lost() -> None:
    routes = [a_route(n) for n in range(3)]
    known = [RouteFacts(latency_s=1.0, success=0.2), RouteFacts(latency_s=2.0, success=1.0), RouteFacts()]
    assert order_of("fastest", routes, known) == [1, 0, 2]


def test_fastest_still_looks_at_the_others_now_and_then() -> None:
    """Else a route that was slow once would never be measured again."""
    routes = [a_route(n) for n in range(3)]
    known = [RouteFacts(latency_s=1.0), RouteFacts(latency_s=2.0), RouteFacts()]
    firsts = {order_of("fastest", routes, known, EXPLORE * share)[0] for share in (0.1, 0.3, 0.6, 0.9)}
    assert firsts == {1, 2}


def test_weighted_gives_each_route_its_share_of_the_first_places_and_of_the_second() -> None:
    routes = [a_route(0, weight=6), a_route(1, weight=3), a_route(2, weight=1), a_route(3, weight=0)]
    known = [RouteFacts()] * 4
    orders = [order_of("weighted", routes, known, (n + 0.5) / 10_000) for n in range(10_000)]
    firsts = Counter(chosen[0] for chosen in orders)
    assert [round(firsts[n] / 10_000, 2) for n in range(4)] == [0.6, 0.3, 0.1, 0.0]
    seconds = Counter(chosen[1] for chosen in orders if chosen[0] == 0)
    assert seconds[1] / sum(seconds.values()) == pytest.approx(0.75, abs=0.01)
    assert all(chosen[-1] == 3 for chosen in orders)


def test_best_takes_the_cheapest_that_is_good_enough_and_no_worse_one() -> None:
    routes = [a_route(0, quality=9), a_route(1, quality=7), a_route(2, quality=8), a_route(3)]
    known = [RouteFacts(90), RouteFacts(5), RouteFacts(40), RouteFacts(1)]
    assert order_of("best", routes, known, min_quality=8) == [2, 0]
    assert order_of("best", routes, known, min_quality=10) == []
    assert order_of("best", routes, known) == [0, 2, 1, 3]
