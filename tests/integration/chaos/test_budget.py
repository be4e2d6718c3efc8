"""A budget holds for the whole fleet, to within what is in flight when it is reached; and every line is accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bucketline.money import nano_from_usd
from tests.chaos.fleet import Results, a_fleet
from worker.simulator import ModelConfig, Prices, ProviderConfig, SimulatorConfig, Weather

CONCURRENCY = 40
LINE_NANOUSD = 1_000_000  #: 0.001 USD: 600 input tokens at 1.00 and 100 output tokens at 4.00 per million
TEXT = "x" * 2400
CHEAP = {"dear": ("1.00", "4.00"), "cheap": ("0.10", "0.40")}


def lines(count: int) -> list[dict[str, Any]]:
    """Each with 600 input tokens and a cap of 100 output tokens, which the simulated model always reaches."""
    messages = [{"role": "user", "content": TEXT}]
    body = {"model": "m", "messages": messages, "max_tokens": 100}
    return [{"custom_id": f"b-{n}", "url": "/v1/chat/completions", "body": {**body, "seed": n}} for n in range(count)]


def providers() -> SimulatorConfig:
    made = {
        name: ProviderConfig(
            models={"m": ModelConfig(Prices(*prices), output_tokens=5000, output_sigma=0.01)},
            keys={"main": f"sk-{name}"},
            weather=Weather(latency_s=0.05, sigma=0.2),
        )
        for name, prices in CHEAP.items()
    }
    return SimulatorConfig(made, seed=5)


def settings(*routes: str) -> dict[str, Any]:
    return {
        "providers": {name: {"concurrency": CONCURRENCY} for name in routes},
        "models": {"m": {"routes": [{"provider": name, "model": "m"} for name in routes]}},
        "prices": {f"{name}/m": {"input": CHEAP[name][0], "output": CHEAP[name][1]} for name in routes},
        "worker": {"concurrency": 100},
    }


def bound_nanousd(results: Results) -> int:
    """The stated bound: what the calls in flight may cost beyond their reservations, here at most their whole price."""
    return CONCURRENCY * LINE_NANOUSD


@pytest.mark.slow
async def test_two_workers_stop_at_the_budget_and_every_line_is_accounted_for(tmp_path: Path) -> None:
    async with a_fleet(tmp_path, providers(), settings("dear")) as fleet:
        batch_id = await fleet.submit(lines(4000), max_usd="1.00")
        results = await fleet.finished(batch_id)
        books = fleet.simulator.books()["totals"]
    spent = nano_from_usd(results.manifest["cost"]["usd"])
    assert spent == books["nanousd"]
    assert spent <= nano_from_usd("1.00") + bound_nanousd(results)
    assert spent >= nano_from_usd("0.95"), "the budget is used, not merely reserved"
    assert len(results.rows) == len({row["custom_id"] for row in results.rows}) == 4000
    assert {row["error"]["code"] for row in results.failed} == {"budget"}
    assert len(results.answered) == pytest.approx(1000, abs=CONCURRENCY)
    assert books["calls"] == len(results.answered), "no line that the budget cannot pay for was sent"


@pytest.mark.slow
async def test_a_batch_that_may_downgrade_goes_on_with_the_route_that_it_can_still_pay_for(tmp_path: Path) -> None:
    """What is left at the limit buys no line of the first route, and five of the second."""
    async with a_fleet(tmp_path, providers(), settings("dear", "cheap")) as fleet:
        batch_id = await fleet.submit(lines(600), max_usd="0.3005", on_budget="downgrade")
        results = await fleet.finished(batch_id)
    spent = nano_from_usd(results.manifest["cost"]["usd"])
    by_route = {row["provider"]: row["requests"] for row in results.manifest["cost"]["by_route"]}
    assert spent <= nano_from_usd("0.3005") + bound_nanousd(results)
    assert 300 - CONCURRENCY <= by_route["dear"] <= 300
    assert by_route["cheap"] >= 5
    assert len(results.rows) == 600
