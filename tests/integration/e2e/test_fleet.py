"""The same batch through submit, two worker processes, a real Redis and a bucket: the same bytes, less ids and times."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.e2e.conftest import Command, Simulation, configure, results_in
from tests.integration.e2e.test_real_files import REAL

FILES = ["batchlocallm_synthetic_100.jsonl", "imitations/mixed_features.jsonl", "openai_cookbook_responses_batch.jsonl"]


@pytest.fixture
def fleet(
    command: Command, simulate: Callable[..., Simulation], redis_url: str, s3_bucket: str, s3_environment: str
) -> Iterator[Command]:
    """Two workers on a real Redis and an S3 server, all in processes of their own."""
    simulation = simulate("--providers", "1", "--seed", "3")
    configure(command.folder, simulation, redis_url=redis_url, store=f"s3://{s3_bucket}/some/prefix")
    command.env |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command.env["SIM_KEY"] = next(iter(simulation.addresses.values()))["keys"]["main"]
    workers = [command.start("work") for _ in range(2)]
    yield command
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]


@pytest.mark.parametrize("name", FILES)
def test_a_bucket_and_two_workers_give_the_bytes_of_a_local_run(fleet: Command, name: str) -> None:
    source = REAL / name
    batch_id = fleet.json("submit", str(source), "--model", "some-model")["id"]
    fleet.run("wait", batch_id, code=None)
    fleet.run("results", batch_id, "-o", "far", code=None)
    fleet.run("run", str(source), "-o", "near", "--model", "some-model", code=None)
    far, near = results_in(fleet.folder / "far"), results_in(fleet.folder / "near")
    far.check_against(source.read_bytes())
    assert far.without_ids_and_times() == near.without_ids_and_times()
    assert far.manifest["usage"] == near.manifest["usage"]
    (shown,) = fleet.json("status", batch_id, "--json", code=None)["batches"]
    assert (shown["status"], shown["percent"]) == ("completed", 100.0)


def test_nothing_of_ours_in_redis_is_a_pickle(fleet: Command, redis_url: str, tmp_path: Path) -> None:
    """Whoever can write to Redis must not be able to run code here: every value is JSON, a number or our own text."""
    source = tmp_path / "many.jsonl"
    raw = (REAL / "batchlocallm_synthetic_100.jsonl").read_bytes().rstrip(b"\n")
    lines = raw.split(b"\n")
    renamed = [line.replace(b'"candidate-', b'"c%d-' % n, 1) for n in range(30) for line in lines]
    source.write_bytes(b"\n".join(renamed))
    seen = 0
    with Redis.from_url(redis_url) as redis, _watched(fleet, source):
        for _ in range(60):
            for key in redis.scan_iter(count=1000):
                for value in values_of(redis, key):
                    assert not looks_pickled(value), key
                    seen += 1
    assert seen > 500


def _watched(fleet: Command, source: Path) -> subprocess.Popen[str]:
    batch_id = fleet.json("submit", str(source))["id"]
    return fleet.start("wait", batch_id)


def values_of(redis: Redis, key: bytes) -> list[bytes]:
    kind = redis.type(key)
    if kind == b"string":
        return [redis.get(key) or b""]
    if kind == b"hash":
        return [part for pair in redis.hgetall(key).items() for part in pair]
    if kind == b"list":
        return redis.lrange(key, 0, 50)
    if kind == b"zset":
        return redis.zrange(key, 0, 50)
    return list(redis.smembers(key)) if kind == b"set" else []


def looks_pickled(value: bytes) -> bool:
    """A pickle of protocol 2 or later begins with 0x80 and ends with a full stop."""
    return value[:1] == b"\x80" and value[1:2] in b"\x02\x03\x04\x05" and value.endswith(b".")
