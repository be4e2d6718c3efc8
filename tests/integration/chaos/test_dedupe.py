"""Equal requests of a batch are sent once, over shards and workers, also when a worker dies in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.fleet import a_fleet
from tests.integration.e2e.conftest import Command, Simulation, configure
from worker.simulator import ModelConfig, Prices, ProviderConfig, SimulatorConfig, Weather


def lines(count: int, contents: int) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": f"d-{n}",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": f"content {n * 7 % contents} tag:t{n * 7 % contents}"}]},
        }
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.slow
async def test_a_thousand_lines_of_fifty_contents_are_fifty_calls(tmp_path: Path) -> None:
    provider = ProviderConfig(
        models={"m": ModelConfig(Prices("1.00", "3.00"))}, keys={"main": "sk-a"}, weather=Weather(latency_s=0.3)
    )
    settings = {
        "providers": {"a": {}},
        "models": {"m": {"routes": [{"provider": "a", "model": "m"}]}},
        "prices": {"a/m": {"input": "1.00", "output": "3.00"}},
        "worker": {"concurrency": 20},
    }
    async with a_fleet(tmp_path, SimulatorConfig({"a": provider}, seed=2), settings) as fleet:
        batch_id = await fleet.submit(lines(1000, 50), dedupe=True)
        results = await fleet.finished(batch_id)
        books = fleet.simulator.books()["totals"]
    assert books["calls"] == 50
    assert len(results.answered) == len({row["custom_id"] for row in results.answered}) == 1000
    cost = results.manifest["cost"]
    assert cost["usd"] == books["usd"]
    assert sum(row["requests"] for row in cost["by_route"]) == 50
    texts: dict[int, set[str]] = {}
    for row in results.answered:
        content = int(row["custom_id"][2:]) * 7 % 50
        texts.setdefault(content, set()).add(row["response"]["body"]["choices"][0]["message"]["content"])
    assert all(len(found) == 1 for found in texts.values())
    copied = Counter("copied_from" in row["bucketline"] for row in results.answered)
    assert copied == {True: 950, False: 50}


@pytest.mark.slow
def test_a_killed_worker_leaves_nobody_waiting_for_its_lines(
    command: Command, redis_url: str, simulate: Any, tmp_path: Path
) -> None:
    """Its equals in the other worker take its lines' place once its lease is gone."""
    slow = tmp_path / "slow.toml"
    slow.write_text(
        '[providers.alpha]\nkeys = { main = "sk-a" }\n[providers.alpha.weather]\nlatency_s = 1.0\nmax_latency_s = 1.0\n'
        '[providers.alpha.models.m.prices]\ninput = "1"\noutput = "3"\n'
    )
    simulation: Simulation = simulate("--config", str(slow))
    configure(command.folder, simulation, redis_url=redis_url, store="store")
    command.env["SIM_KEY"] = "sk-a"
    with (command.folder / "bucketline.toml").open("a") as file:
        file.write("[worker]\nlease_s = 2\nconcurrency = 8\nopen_requests = 300\n")
    import json

    (command.folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(600, 60)))
    doomed, survivor = command.start("work"), command.start("work")
    batch_id = command.json("submit", "in.jsonl", "--dedupe")["id"]
    _until_called(simulation, 10)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait()
    command.run("wait", batch_id, "--timeout", "110")
    command.run("results", batch_id, "-o", "out")
    rows = [json.loads(line) for line in (command.folder / "out/output.jsonl").read_text().splitlines()]
    assert len({row["custom_id"] for row in rows}) == 600
    # What was in flight at the death is asked again, and what had arrived in the last moment before it was recorded.
    assert simulation.books()["totals"]["calls"] <= 60 + 2 * 8
    survivor.send_signal(signal.SIGTERM)
    assert survivor.wait(timeout=30) == 0


def _until_called(simulation: Simulation, calls: int) -> None:
    async def until() -> None:
        async with asyncio.timeout(30):
            while simulation.books()["totals"]["calls"] < calls:
                await asyncio.sleep(0.05)

    asyncio.run(until())
