"""Which price is taken: exact names, dates, tiers and regions; unknown is said, never guessed and never zero."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.errors import ConfigError
from bucketline.money import usd
from bucketline.prices import same_model, undated
from bucketline.usage import Usage
from tests.unit.bill.prices_for_tests import NOW_S, World

THOUSANDS = Usage(input_tokens=1000, output_tokens=1000)
ORIONS = {
    "alpha/orion-4": {"input": "5.00", "output": "20.00"},
    "alpha/orion-4-mini": {"input": "0.50", "output": "2.00"},
}


def _cost(world: World, route: str, usage: Usage = THOUSANDS, served: str | None = None, **more: object) -> str | None:
    when_s = more.pop("when_s", NOW_S)
    return usd(world.book.cost(world.route(route), served_model=served, usage=usage, when_s=when_s, **more).nanousd)


@pytest.mark.parametrize(
    ("asked", "served", "expected"),
    [
        ("orion-4-mini", "orion-4-mini-2025-03-01", "0.0025"),
        ("orion-4-mini", "orion-4-mini-20250301", "0.0025"),
        ("orion-4-mini", "orion-4-mini-0301", "0.0025"),
        ("orion-4-mini-2025-03-01", "orion-4-mini-2025-03-01", "0.0025"),
        ("orion-4", "orion-4", "0.025"),
        ("orion-4", "vendor/orion-4", "0.025"),
        ("orion-4", "orion-4-mini", "0.0025"),
        ("orion-4o", "orion-4o", None),
        ("orion-4", "orion-4o", None),
        ("orion-4", "orion-4-1024", None),
        ("orion", None, None),
        ("orion-4-mini-turbo", None, None),
    ],
)
def test_a_price_belongs_to_one_name_and_to_its_dated_spellings(
    asked: str, served: str | None, expected: str | None
) -> None:
    """Others took the price of any name that contained this one, and billed five times too much."""
    assert _cost(World(ORIONS), f"alpha/{asked}", served=served) == expected


def test_the_model_that_answered_is_the_model_that_is_billed() -> None:
    """A gateway that answers with a dearer model is billed as the dearer model."""
    world = World(ORIONS)
    assert _cost(world, "alpha/orion-4-mini", served="orion-4") == "0.025"
    cost = world.book.cost(world.route("alpha/orion-4"), served_model="stranger", usage=THOUSANDS, when_s=NOW_S)
    assert (cost.nanousd, cost.price_key) == (None, "")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-4.1", "gpt-4.1-2025-04-14", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", True),
        ("claude-3-5-sonnet@20241022", "claude-3-5-sonnet", True),
        ("gemini-2.0-flash", "models/gemini-2.0-flash-001", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("Orion-4", "orion-4", True),
        ("orion-4-2024-05-01", "orion-4-2024-08-06", False),
        ("a/orion-4", "b/orion-4", False),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4", "gpt-4-32k", False),
    ],
)
def test_two_names_are_one_model_only_when_they_differ_by_spelling(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same
    assert same_model(other, one) is same


@given(
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.dates(date(2000, 1, 1), date(2099, 12, 31))
)
def test_a_date_is_taken_off_and_nothing_else(name: str, day: date) -> None:
    assert undated(name) == name
    assert undated(f"{name}-{day}") == undated(f"{name}-{day:%Y%m%d}") == undated(f"{name}@{day:%Y%m%d}") == name


def test_the_configuration_beats_the_package_and_the_provider_beats_the_bare_name() -> None:
    world = World({"gpt-4.1": {"input": "9", "output": "9"}}, providers={"openai": {}})
    assert _cost(World(providers={"openai": {}}), "openai/gpt-4.1") == "0.01"
    assert _cost(world, "openai/gpt-4.1") == "0.018"
    assert _cost(world, "openai/gpt-4.1", served="gpt-4.1-2025-04-14") == "0.018"
    both = World({"m": {"input": "1", "output": "1"}, "beta/m": {"input": "2", "output": "2"}})
    assert (_cost(both, "alpha/m"), _cost(both, "beta/m")) == ("0.002", "0.004")


def test_a_provider_is_never_guessed_from_a_part_of_its_name() -> None:
    """The package would take anything that contains "openai" for OpenAI; a local server is not."""
    world = World(providers={"my-openai": {"base_url": "http://127.0.0.1:9/v1"}})
    assert _cost(world, "my-openai/gpt-4.1") is None


def test_a_second_account_of_a_preset_has_the_presets_prices() -> None:
    world = World(providers={"spare": {"preset": "openai"}, "other": {"preset": "openai", "price_as": "nobody"}})
    assert _cost(world, "spare/gpt-4.1") == "0.01"
    assert _cost(world, "other/gpt-4.1") is None


def test_a_correction_is_a_dated_row_and_the_past_keeps_its_price() -> None:
    rows = [{"input": "1", "output": "1"}, {"input": "3", "output": "3", "valid_from": "2026-11-01"}]
    for order in (rows, rows[::-1]):
        world = World({"alpha/m": order})
        before = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC).timestamp()
        after = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
        assert (_cost(world, "alpha/m", when_s=before), _cost(world, "alpha/m", when_s=after)) == ("0.002", "0.006")


def test_a_price_that_begins_later_is_no_price_now() -> None:
    world = World({"alpha/m": {"input": "1", "output": "1", "valid_from": "2027-01-01"}})
    assert _cost(world, "alpha/m") is None


def test_a_day_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"prices\.alpha/m: valid_from is '2026-13-01'"):
        World({"alpha/m": {"input": "1", "valid_from": "2026-13-01"}})


def test_the_package_knows_the_price_of_the_day() -> None:
    """o3 cost five times as much before 10 June 2025."""
    world = World(providers={"openai": {}})
    before, after = (datetime(2025, 6, day, 12, tzinfo=UTC).timestamp() for day in (9, 10))
    assert (_cost(world, "openai/o3", when_s=before), _cost(world, "openai/o3", when_s=after)) == ("0.05", "0.01")


def test_a_price_by_the_hour_follows_the_hour_of_the_call() -> None:
    """DeepSeek's dear hours are 01:00 to 04:00 and 06:00 to 10:00 UTC."""
    world = World(providers={"deepseek": {}})
    hours = [datetime(2026, 11, 18, *time, tzinfo=UTC).timestamp() for time in ((0, 59), (1, 0), (3, 59), (4, 0))]
    costs = [_cost(world, "deepseek/deepseek-v4-pro", when_s=when_s) for when_s in hours]
    assert costs[1] == costs[2] == "0.00528"
    assert costs[0] == costs[3] == "0.00264"


@pytest.mark.parametrize(
    ("input_tokens", "cached", "expected"),
    [(900, 0, "0.0028"), (950, 0, "0.0029"), (1100, 500, "0.0041"), (1000, 0, "0.003"), (1001, 0, "0.005504")],
)
def test_a_step_is_strictly_over_and_for_the_whole_request(input_tokens: int, cached: int, expected: str) -> None:
    """Cached tokens count towards the step; then every part of the request takes the higher rates."""
    step = {"over_input_tokens": 1000, "input": "4.00", "cached_input": "0.40", "output": "15.00"}
    world = World({"alpha/m": {"input": "2.00", "cached_input": "0.20", "output": "10.00", "tiers": [step]}})
    usage = Usage(input_tokens=input_tokens, cached_input_tokens=cached, output_tokens=100)
    assert _cost(world, "alpha/m", usage) == expected


def test_service_tiers_are_factors_and_a_tier_without_one_is_unknown() -> None:
    row = {"input": "1", "output": "2", "batch": "0.5", "priority": "2"}
    world = World({"alpha/m": row})
    words = ("default", "SERVICE_TIER_STANDARD", "batch", "Priority", "flex", "odd")
    costs = {tier: _cost(world, "alpha/m", tier=tier) for tier in words}
    assert list(costs.values()) == ["0.003", "0.003", "0.0015", "0.006", None, None]


def test_the_batch_lane_of_the_package_costs_half_where_the_provider_says_so() -> None:
    """The package leaves out discounts it has no row for; asked for the batch price it must not answer the full one."""
    world = World(providers={"openai": {}, "anthropic": {}, "moonshot": {}, "groq": {}})
    full = {"openai/gpt-4.1": "0.005", "anthropic/claude-3-7-sonnet": "0.009", "moonshot/kimi-k2-thinking": "0.00186"}
    assert {route: _cost(world, route, tier="batch") for route in full} == full
    assert _cost(world, "groq/llama-3.1-8b-instant", tier="flex") is None
    assert _cost(World(providers={"llmapi": {}}), "llmapi/moonshot/kimi-k2-thinking", tier="batch") is None


def test_a_region_may_have_its_own_price() -> None:
    world = World({"alpha/m": {"input": "1", "output": "1"}, "alpha/m@eu": {"input": "1.1", "output": "1.1"}})
    assert _cost(world, "alpha/m", region="eu") == "0.0022"
    assert _cost(world, "alpha/m", region="us") == "0.002"


def test_a_fee_for_each_request_is_paid_once_a_call() -> None:
    world = World({"alpha/m": {"input": "1", "output": "1", "request": "0.005"}})
    assert _cost(world, "alpha/m") == "0.007"


def test_a_model_without_a_price_for_what_was_used_is_unknown() -> None:
    """An embedding model is priced by input alone; the day it writes, nobody knows what that costs."""
    world = World({"alpha/embed": {"input": "1.00"}})
    assert _cost(world, "alpha/embed", Usage(input_tokens=300)) == "0.0003"
    assert _cost(world, "alpha/embed") is None


def test_an_answer_without_usage_has_no_cost_and_not_the_cost_nothing() -> None:
    world = World(ORIONS)
    cost = world.book.cost(world.route("alpha/orion-4"), served_model=None, usage=None, when_s=NOW_S)
    assert cost.nanousd is None
    assert cost.price_key


def test_a_charge_that_a_gateway_reports_counts_and_ours_is_kept_beside_it() -> None:
    world = World(ORIONS)
    cost = world.book.cost(
        world.route("alpha/orion-4"), served_model=None, usage=THOUSANDS, when_s=NOW_S, reported_nanousd=26_000_000
    )
    assert (cost.nanousd, cost.reported_nanousd, cost.computed_nanousd) == (26_000_000, 26_000_000, 25_000_000)
    unpriced = world.book.cost(
        world.route("alpha/orion-4o"), served_model=None, usage=THOUSANDS, when_s=NOW_S, reported_nanousd=7
    )
    assert (unpriced.nanousd, unpriced.computed_nanousd) == (7, None)


def test_a_call_that_may_have_been_billed_is_a_range() -> None:
    world = World(ORIONS)
    cost = world.book.maybe_cost(world.route("alpha/orion-4"), input_tokens=1000, output_tokens=500, when_s=NOW_S)
    assert (cost.nanousd, cost.maybe_nanousd) == (0, 15_000_000)
    unknown = world.book.maybe_cost(world.route("alpha/orion-4o"), input_tokens=1000, output_tokens=500, when_s=NOW_S)
    assert (unknown.nanousd, unknown.maybe_nanousd) == (0, None)


def test_reservations_and_the_refusal_of_unpriced_models_need_no_time() -> None:
    world = World(ORIONS)
    assert world.book.likely_nanousd(world.route("alpha/orion-4"), 1000, 1000) == 25_000_000
    assert world.book.likely_nanousd(world.route("alpha/orion-4o"), 1000, 1000) is None
    assert world.book.priced(world.route("alpha/orion-4"))
    assert not world.book.priced(world.route("alpha/orion-4o"))


def test_names_from_outside_do_not_fill_the_memory() -> None:
    world = World(ORIONS)
    for number in range(10_000):
        _cost(world, "alpha/orion-4", served=f"stranger-{number}")
    assert len(world.book._prices) <= 4096
