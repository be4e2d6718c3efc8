"""Several Redis servers in one bucket, each with a prefix, workers and batches of its own, as ``docs/scaling.md`` says."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.integration.e2e.conftest import Command, Simulation, configure, results_in
from worker.embedded import EmbeddedRedis

LINES = 200


def test_two_lines_in_one_bucket_leave_each_other_alone(simulate: Callable[..., Simulation], tmp_path: Path) -> None:
    """A batch that a Redis does not know is taken for forgotten and worked off: were the prefix shared, both would pay."""
    simulation = simulate("--providers", "1")
    with ExitStack() as stack:
        both = [a_line(name, simulation, stack, tmp_path) for name in ("one", "two")]
        ids = [line.json("submit", "in.jsonl")["id"] for line in both]
        for line, batch in zip(both, ids, strict=True):
            line.run("wait", batch)
            line.run("results", batch, "-o", "answers")
            line.run("verify", batch)
            results_in(line.folder / "answers").check_against((line.folder / "in.jsonl").read_bytes())
            assert [one["id"] for one in line.json("status", "--json")["batches"]] == [batch]
    assert simulation.books()["totals"]["calls"] == 2 * LINES


def a_line(name: str, simulation: Simulation, stack: ExitStack, folder: Path) -> Command:
    """A Redis and a worker of its own, ended with the stack; the bucket is shared."""
    place = folder / name
    place.mkdir()
    redis = stack.enter_context(EmbeddedRedis(place / "redis"))
    (folder / "bucket" / name).mkdir(parents=True)
    key = next(iter(simulation.addresses.values()))["keys"]["main"]
    line = Command(place, {"SIM_KEY": key})
    configure(place, simulation, redis_url=redis.url, store=str(folder / "bucket" / name))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    (place / "in.jsonl").write_text(
        "".join(
            json.dumps({"custom_id": f"{name}-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body})
            + "\n"
            for n in range(LINES)
        )
    )
    worker = line.start("work")

    def end() -> None:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0

    stack.callback(end)
    return line
