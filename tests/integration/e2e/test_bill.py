"""The bill of a batch that really ran: equal to the providers' own books, derivable from the parts, and of use later."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.integration.e2e.conftest import Command, Simulation

PRICES = {
    "alpha": ("1.00", "0.25", "3.00"),
    "beta": ("1.50", "0.30", "6.00"),
}  # as the simulator's bad weather has them
LINES = 200


@pytest.fixture
def batch(
    command: Command, simulate: Callable[..., Simulation], redis_url: str
) -> Iterator[tuple[Command, Simulation, str]]:
    """A batch of 200 lines through two providers in bad weather, done by one worker."""
    simulation = simulate("--bad-weather", "--seed", "5")
    lines = [f'redis_url = "{redis_url}"', 'store = "store"']
    for name, (price, cached, output) in PRICES.items():
        command.env[f"{name.upper()}_KEY"] = simulation.addresses[name]["keys"]["main"]
        lines += [
            f"[providers.{name}]",
            f'base_url = "{simulation.addresses[name]["base_url"]}"',
            f'api_key_env = "{name.upper()}_KEY"',
            "rpm = 2400",
            "concurrency = 80",
            f'[prices."{name}/{name}-small"]',
            f'input = "{price}"',
            f'cached_input = "{cached}"',
            f'output = "{output}"',
        ]
    lines += [
        "[models.small]",
        'routes = [{ provider = "alpha", model = "alpha-small" }, { provider = "beta", model = "beta-small" }]',
    ]
    lines += ["[retry]", "base_delay_s = 0.05", "max_delay_s = 0.5"]
    (command.folder / "bucketline.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (command.folder / "in.jsonl").open("w", encoding="utf-8") as file:
        for number in range(LINES):
            body = {"model": "small", "messages": [{"role": "user", "content": f"Say {number}. " * (1 + number % 9)}]}
            file.write(json.dumps({"custom_id": f"r-{number}", "body": body}) + "\n")
    worker = command.start("work")
    batch_id = command.json("submit", "in.jsonl", "--metadata", "team=search")["id"]
    command.run("wait", batch_id, code=None)
    yield command, simulation, batch_id
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


def _manifest(command: Command, batch_id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (command.folder / "store/batches" / batch_id / "manifest.json").read_text("utf-8")
    )
    return document


@pytest.mark.slow
def test_the_bill_is_the_providers_own_and_can_be_derived_again(batch: tuple[Command, Simulation, str]) -> None:
    """One batch, all that the bill promises: equal to the nano-dollar, verified, shown wrong by one digit, learnt from."""
    command, simulation, batch_id = batch
    manifest, books = _manifest(command, batch_id), simulation.books()
    assert manifest["counts"]["total"] == LINES
    assert manifest["counts"]["attempts"] == books["totals"]["calls"]

    billed, lost = Decimal(books["totals"]["usd"]), Decimal(books["totals"]["lost_usd"])
    cost = manifest["cost"]
    assert Decimal(cost["usd"]) == billed - lost
    assert lost <= Decimal(cost["maybe_billed_usd"])
    assert cost["complete"] is (cost["maybe_billed"]["attempts"] == 0)

    assert command.json("verify", batch_id, "--json") | {"parts": 0} == {
        "id": batch_id,
        "ok": True,
        "parts": 0,
        "lines": LINES,
        "findings": [],
        "more_findings": 0,
    }
    part = max((command.folder / "store/batches" / batch_id / "parts").iterdir())
    raw = part.read_bytes()
    part.write_bytes(raw.replace(b'"cost_usd":"0.000', b'"cost_usd":"0.001', 1))
    places = [finding["place"] for finding in command.json("verify", batch_id, "--json", code=1)["findings"]]
    assert any(place.endswith(part.name) for place in places)
    part.write_bytes(raw)

    (row,) = command.json("spend", "--by", "metadata.team", "--json")["rows"]
    assert (row["metadata.team"], row["usd"]) == ("search", cost["usd"])

    (model,) = command.json("estimate", "in.jsonl", "--json")["models"]
    used = {f"{row['provider']}/{row['model']}" for row in cost["by_route"]}
    learnt = {route["route"]: route for route in model["routes"] if route["route"] in used}
    assert all(route["learned_from"] == [batch_id] for route in learnt.values())
    likely = max(route["input_tokens"]["likely"] for route in learnt.values())
    assert abs(likely - manifest["usage"]["input_tokens"]) <= 0.1 * manifest["usage"]["input_tokens"]
