"""The fold of lines: the same bill however the lines are cut, merged, written and read again."""

from __future__ import annotations

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketline.failure import Billed, Code
from bucketline.outcome import Attempt, Cost, Outcome, encode_outcome
from bucketline.sketch import LatencySketch
from bucketline.splice import loads
from bucketline.tally import Tally
from bucketline.usage import Usage
from tests.unit.bill.prices_for_tests import NOW_S, World

WORLD = World(
    {
        "alpha/small": {
            "input": "1.00",
            "cached_input": "0.25",
            "output": "3.00",
            "tiers": [{"over_input_tokens": 500, "input": "2.00", "output": "6.00"}],
        },
        "beta/large": {"input": "0.15", "output": "0.6", "batch": "0.5"},
    }
)
ROUTES = [WORLD.route(name) for name in ("alpha/small", "beta/large", "beta/stranger")]


@st.composite
def attempts(draw: st.DrawFn, ok: bool) -> Attempt:
    """One call as the dispatcher notes it: answered, failed for nothing, failed and billed, or perhaps billed."""
    route = draw(st.sampled_from(ROUTES))
    usage = draw(
        st.none() | st.builds(Usage, st.integers(400, 900), st.integers(0, 300), output_tokens=st.integers(0, 99))
    )
    tier = draw(st.sampled_from(["standard", "batch"]))
    reported = draw(st.none() | st.integers(0, 10**7)) if ok else None
    billed = Billed.YES if ok else draw(st.sampled_from(Billed))
    served = draw(st.sampled_from([None, route.model, f"{route.model}-2026-01-01", "another"]))
    if billed is Billed.YES:
        cost = WORLD.book.cost(
            route, served_model=served, usage=usage, when_s=NOW_S, tier=tier, reported_nanousd=reported
        )
    elif billed is Billed.MAYBE:
        usage = None
        cost = WORLD.book.maybe_cost(route, input_tokens=600, output_tokens=100, when_s=NOW_S)
    else:
        usage, cost = None, Cost()
    kind = "ok" if ok else "server_error"
    latency_s = draw(st.floats(0, 1000))
    return Attempt(route.provider.name, route.model, kind, 200, NOW_S, latency_s, usage, cost, billed, None, served)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    line = draw(st.integers(1, 10**6))
    ok = draw(st.booleans())
    failed = draw(st.lists(attempts(ok=False), max_size=3))
    tried = (*failed, draw(attempts(ok=True))) if ok else tuple(failed)
    last = tried[-1] if tried else None
    return Outcome(
        line=line,
        custom_id=draw(st.none() | st.integers() | st.text(max_size=3)),
        requested_model=draw(st.sampled_from(["small", "large"])),
        code=None if ok else draw(st.sampled_from(Code)),
        message=None if ok else "It failed.",
        attempts=tried,
        status=200 if ok else None,
        body=b"{}" if ok else None,
        finish_reason=draw(st.sampled_from(["stop", "length"])) if ok else None,
        served_model=last.served_model if last else None,
        usage=last.usage if last else None,
    )


def _tally(lines: list[Outcome]) -> Tally:
    tally = Tally()
    for line in lines:
        tally.add(line)
    return tally


@given(st.lists(outcomes(), max_size=12), st.data())
def test_any_cut_into_parts_and_any_order_of_them_is_the_same_bill(lines: list[Outcome], data: st.DataObject) -> None:
    """A shard taken over by another worker, parts listed in another order: the manifest does not change by a byte."""
    parts: list[list[Outcome]] = [[], [], []]
    for line in lines:
        parts[data.draw(st.integers(0, 2))].append(line)
    tallies = [Tally.from_document(orjson.loads(orjson.dumps(_tally(part).document()))) for part in parts]
    folded = Tally()
    for number in data.draw(st.permutations(range(3))):
        folded.merge(tallies[number])
    assert folded.document() == _tally(lines).document()


@given(st.lists(outcomes(), max_size=8))
@settings(max_examples=200)
def test_the_lines_as_written_give_the_bill_of_the_outcomes_as_recorded(lines: list[Outcome]) -> None:
    """Whatever the manifest says can be derived again from the lines alone; only unit prices are not on them."""
    read = Tally()
    for line in lines:
        read.add_line(loads(encode_outcome("batch_1", line)))
    written, derived = _tally(lines).document(), read.document()
    assert set(derived.pop("origins", {})) == set(written.pop("prices"))
    assert derived.pop("prices") == {}
    assert derived == written


@given(st.lists(outcomes(), max_size=8))
def test_the_sum_of_the_attempts_is_the_total_exactly(lines: list[Outcome]) -> None:
    tally = _tally(lines)
    attempts_ = [attempt for line in lines for attempt in line.attempts]
    assert tally.nanousd == sum(attempt.cost.nanousd or 0 for attempt in attempts_)
    assert tally.usage == sum((attempt.usage for attempt in attempts_ if attempt.usage), Usage())
    assert tally.attempts == len(attempts_)
    assert tally.attempts == tally.retries + tally.fallbacks + sum(1 for line in lines if line.attempts)
    assert tally.total == len(lines)


def _attempt(kind: str, billed: Billed, cost: Cost, usage: Usage | None = None, route: str = "alpha/small") -> Attempt:
    provider, model = route.split("/")
    return Attempt(provider, model, kind, None, NOW_S, 0.5, usage, cost, billed)


def _line(*tried: Attempt, code: Code | None = None, finish_reason: str | None = "stop") -> Outcome:
    return Outcome(1, "r", "small", code, None, tried, 200, None, b"{}", finish_reason, None, tried[-1].usage)


def test_failed_calls_that_were_billed_are_in_the_total_and_shown_apart() -> None:
    """A refusal after 10 output tokens is no answer, and it is on the invoice."""
    usage = Usage(100, output_tokens=10)
    cost = WORLD.book.cost(ROUTES[0], served_model=None, usage=usage, when_s=NOW_S)
    refused, answered = _attempt("refusal", Billed.YES, cost, usage), _attempt("ok", Billed.YES, cost, usage)
    tally = _tally([_line(refused, answered), _line(refused, code=Code.CONTENT_FILTER)])
    assert (tally.completed, tally.failed, tally.retries) == (1, 1, 1)
    assert tally.nanousd == 3 * 130_000
    assert (tally.failed_attempts, tally.failed_nanousd) == (2, 2 * 130_000)
    assert tally.usage == Usage(300, output_tokens=30)
    assert tally.complete


def test_a_call_that_may_have_been_billed_is_in_no_total_and_makes_the_bill_incomplete() -> None:
    maybe = WORLD.book.maybe_cost(ROUTES[0], input_tokens=100, output_tokens=10, when_s=NOW_S)
    answered = WORLD.book.cost(ROUTES[0], served_model=None, usage=Usage(100), when_s=NOW_S)
    tally = _tally(
        [_line(_attempt("timeout_after_send", Billed.MAYBE, maybe), _attempt("ok", Billed.YES, answered, Usage(100)))]
    )
    assert tally.nanousd == 100_000
    assert (tally.maybe_attempts, tally.maybe_nanousd, tally.maybe_unknown) == (1, 130_000, 0)
    assert not tally.complete


def test_one_answer_without_usage_does_not_zero_the_bill() -> None:
    known = WORLD.book.cost(ROUTES[0], served_model=None, usage=Usage(100), when_s=NOW_S)
    unknown = WORLD.book.cost(ROUTES[0], served_model=None, usage=None, when_s=NOW_S)
    tally = _tally([_line(_attempt("ok", Billed.YES, known, Usage(100))), _line(_attempt("ok", Billed.YES, unknown))])
    assert (tally.nanousd, tally.without_usage, tally.unknown_cost) == (100_000, 1, 1)
    assert tally.unpriced == set()
    assert not tally.complete


def test_retries_stay_on_a_route_and_fallbacks_change_it() -> None:
    free = Cost()
    calls = [
        _attempt("server_error", Billed.NO, free),
        _attempt("server_error", Billed.NO, free),
        _attempt("server_error", Billed.NO, free, route="beta/large"),
        _attempt("ok", Billed.YES, free, Usage(), route="beta/large"),
    ]
    tally = _tally([_line(*calls, finish_reason="length")])
    assert (tally.attempts, tally.retries, tally.fallbacks, tally.truncated) == (4, 2, 1, 1)


def test_a_reported_charge_within_one_percent_is_no_difference() -> None:
    for reported, differing in ((100_000, 0), (101_000, 0), (99_000, 0), (101_100, 1), (98_000, 1)):
        cost = WORLD.book.cost(ROUTES[0], served_model=None, usage=Usage(100), when_s=NOW_S, reported_nanousd=reported)
        tally = _tally([_line(_attempt("ok", Billed.YES, cost, Usage(100)))])
        (row,) = tally.rows.values()
        assert (tally.nanousd, row.reported, row.differing) == (reported, 1, differing)


def test_names_of_unpriced_models_are_kept_to_a_hundred_whatever_the_order() -> None:
    def tally(numbers: range) -> Tally:
        calls = (
            Attempt("a", "m", "ok", 200, NOW_S, 1, Usage(1), Cost(None), Billed.YES, None, f"x{n:04}") for n in numbers
        )
        return _tally([_line(call) for call in calls])

    forward, backward = tally(range(300)), tally(range(299, -1, -1))
    assert forward.unpriced == backward.unpriced == {f"x{n:04}" for n in range(100)}


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_within_one_percent(latencies_ms: list[int], share: float) -> None:
    sketch = LatencySketch()
    for ms in latencies_ms:
        sketch.add(ms / 1000)
    rank = max(1, -int(-share * len(latencies_ms) // 1))
    exact = sorted(latencies_ms)[rank - 1] / 1000
    assert abs(sketch.quantile_s(share) - exact) <= 0.01 * exact + 0.0005
    assert sketch.max_s == max(latencies_ms) / 1000
