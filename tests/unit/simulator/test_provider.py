"""A provider decides in the order real ones do, and its books say what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from worker.simulator import Fault, Limits, ModelConfig, Phase, PhaseKind, Prices, ProviderConfig, RetryAfter, Weather
from worker.simulator.limits import NS
from worker.simulator.provider import Arrival, Provider, Visit
from worker.simulator.wires.routes import route

_KEY = {"authorization": "Bearer sk-1"}


class _Clock:
    """Time that passes when a test says so."""

    now_ns = 1_000 * NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _provider(clock: _Clock, **fields: Any) -> Provider:
    models = fields.pop("models", {"m": ModelConfig(Prices("1", "2"))})
    config = ProviderConfig(models=models, keys={"main": "sk-1", "second": "sk-2"}, **fields)
    return Provider("alpha", config, 9, remember=100, record=True, clock_ns=clock)


def _visit(
    provider: Provider, body: Any = None, path: str = "/v1/chat/completions", headers: Mapping[str, str] = _KEY
) -> Visit:
    body = {"model": "m", "messages": [{"role": "user", "content": "tag:t1 hello"}]} if body is None else body
    found = route(path, "")
    assert found is not None
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return provider.visit(Arrival(path, "", headers, raw, found))


def _served(provider: Provider, **how: Any) -> Visit:
    visit = _visit(provider, **how)
    if visit.refusal is None:
        provider.close(visit, 200, "", delivered=True)
    else:
        provider.close(visit, visit.refusal.status, visit.trouble)
    return visit


def _refused(visit: Visit) -> tuple[int, Any]:
    assert visit.refusal is not None
    return visit.refusal.status, orjson.loads(visit.refusal.body)["error"]


def test_a_wrong_key_is_refused_before_the_body_is_looked_at(clock: _Clock) -> None:
    status, error = _refused(_visit(_provider(clock), b"not json", headers={"authorization": "Bearer sk-9"}))
    assert (status, error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        ({"model": "m"}, 400),
        ({"model": "m", "messages": [], "n": 1}, 400),
        ({"model": "m", "messages": ["x"], "n": 0}, 400),
        ({"model": "m", "messages": ["x"], "tools": 5}, 400),
        ({"model": "other", "messages": ["x"]}, 404),
        ({"model": "m", "messages": ["x"], "logit_bias": {}}, 400),
        ({"model": "m", "messages": [{"role": "user", "content": "long" * 100}]}, 400),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_in_the_providers_shape(
    clock: _Clock, body: Any, status: int
) -> None:
    provider = _provider(clock, models={"m": ModelConfig(refuses=("logit_bias",), context_tokens=50)})
    answered, error = _refused(_visit(provider, body))
    assert answered == status
    assert error["message"]


def test_a_refused_call_says_when_to_come_back_and_then_fits(clock: _Clock) -> None:
    provider = _provider(clock, limits=Limits(rpm=1))
    _served(provider)
    clock.now_ns += 20 * NS + NS // 2
    refusal = _served(provider).refusal
    assert refusal is not None
    assert refusal.headers["retry-after"] == "40"
    assert refusal.headers["retry-after-ms"] == "39500"
    clock.now_ns += 39 * NS + NS // 2
    assert _served(provider).refusal is None


def test_retry_after_can_be_a_date(clock: _Clock) -> None:
    provider = _provider(clock, limits=Limits(rpm=1), retry_after=RetryAfter.DATE)
    _served(provider)
    refusal = _served(provider).refusal
    assert refusal is not None
    assert refusal.headers["retry-after"].endswith(" GMT")
    assert "retry-after-ms" not in refusal.headers


def test_a_models_own_limits_stand_beside_the_accounts(clock: _Clock) -> None:
    models = {"m": ModelConfig(limits=Limits(rpm=1)), "free": ModelConfig()}
    provider = _provider(clock, models=models, limits=Limits(rpm=3))
    chat = {"model": "free", "messages": ["x"]}
    refused = [_served(provider, body=body).trouble for body in (None, None, chat, chat, chat)]
    assert refused == ["", "limit:requests", "", "", "limit:requests"]


def test_a_call_that_one_gate_refuses_uses_nothing_of_the_other_up(clock: _Clock) -> None:
    provider = _provider(clock, models={"m": ModelConfig(limits=Limits(rpm=1))}, limits=Limits(rpm=3))
    for _ in range(5):
        _served(provider)
    assert provider.report(calls=False)["limits"]["*"]["requests"]["max_in_window"] == 1


def test_money_runs_out_and_comes_back(clock: _Clock) -> None:
    provider = _provider(clock, balance_usd="0.00001")
    assert _served(provider).refusal is None
    status, error = _refused(_served(provider))
    assert (status, error["code"]) == (429, "insufficient_quota")
    provider.change({"top_up_usd": "1"})
    assert _served(provider).refusal is None


def test_a_phase_without_money_ends_with_a_top_up(clock: _Clock) -> None:
    provider = _provider(clock, phases=(Phase(PhaseKind.EXHAUSTED, after_calls=1),))
    assert [_served(provider).trouble for _ in range(2)] == ["", "money"]
    provider.change({"top_up_usd": "1"})
    assert _served(provider).trouble == ""


def test_the_weathers_429_uses_no_limit_up(clock: _Clock) -> None:
    provider = _provider(clock, weather=Weather({Fault.LIMITED: 1.0}), limits=Limits(rpm=1))
    assert [_served(provider).trouble for _ in range(3)] == ["limited"] * 3


@pytest.mark.parametrize(
    ("fault", "input_billed", "output_billed"),
    [(Fault.ERROR_500, False, False), (Fault.LOST, True, True), (Fault.HANG, True, True), (Fault.EMPTY, True, False)],
)
def test_the_books_know_what_a_fault_costs(
    clock: _Clock, fault: Fault, input_billed: bool, output_billed: bool
) -> None:
    provider = _provider(clock, weather=Weather({fault: 1.0}))
    visit = _visit(provider)
    provider.close(visit, 0, "", left=True)
    report = provider.report(calls=True)
    assert (report["usage"]["input_tokens"] > 0) is input_billed
    assert (report["usage"]["output_tokens"] > 0) is output_billed
    assert report["lost"]["nanousd"] == report["nanousd"]
    assert report["call_list"][0]["fault"] == "left"


def test_sums_of_the_books_are_sums_of_the_calls(clock: _Clock) -> None:
    provider = _provider(clock, weather=Weather({Fault.ERROR_503: 0.3, Fault.LIMITED: 0.2}))
    for number in range(200):
        _served(provider, body={"model": "m", "messages": [{"role": "user", "content": f"question {number // 2}"}]})
    report = provider.report(calls=True)
    calls = report["call_list"]
    assert report["calls"] == len(calls) == sum(report["by_status"].values()) == 200
    assert report["nanousd"] == sum(call["nanousd"] for call in calls)
    assert report["by_model"]["m"]["usage"]["output_tokens"] == sum(call["spent"]["output_tokens"] for call in calls)
    assert report["repeated_calls"] == 100


def test_an_answer_paid_for_twice_is_told(clock: _Clock) -> None:
    provider = _provider(clock)
    _served(provider)
    first = provider.report(calls=False)["nanousd"]
    _served(provider)
    assert provider.report(calls=False)["delivered_again"]["nanousd"] == first


def test_a_call_is_booked_once_however_often_it_ends(clock: _Clock) -> None:
    provider = _provider(clock, limits=Limits(concurrency=1))
    visit = _visit(provider)
    for _ in range(3):
        provider.close(visit, 200, "", delivered=True)
    assert provider.report(calls=False)["calls"] == 1
    assert provider.report(calls=False)["limits"]["*"]["concurrency"]["peak"] == 1
