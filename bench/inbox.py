"""The bucket door under load: is each of thousands of objects taken exactly once, how soon, and at how many requests?

    python -m bench.inbox [--quick] [--objects N] [--singles N]      default: 3,000 objects, 20 singles; quick: 300 and 5

Three watchers, a worker and a simulated provider in processes of their own, SeaweedFS for the bucket, all as configured by
default. First single objects come into an inbox at rest, at moments that the dice choose: from the end of the put to the
provider's first call. Then, without the worker, all the others are put at once, until each has its batch; then the
worker answers them, until each has its results in the outbox. What was taken how often is read from the batches in the
bucket and from the provider's own books, never from logs. Prints one JSON document; exit code 1 if an object was
not taken, or not once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
from botocore.config import Config
from redis import Redis

from bench.stand import cpu_s
from bucketline.keys import BATCHES, INBOX
from tests.conformance.store.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed
from worker.embedded import EmbeddedRedis

BUCKET, WATCHERS = "bench", 3
POLL_S = 2.0  #: as configured by default; singles are put at any moment of it
PATIENCE_S = 3600.0
ROOT = Path(__file__).parents[1]


def main() -> int:
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
    began_s = time.monotonic()
    with ExitStack() as stack:
        bench = Bench(stack, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bucketline-inbox-"))))
        watchers = [bench.product("inbox") for _ in range(WATCHERS)]
        worker = bench.product("work")
        bench.single("first")  # waits for the processes to start
        waits_s = [bench.single(f"single-{number}") for number in range(asked.singles)]
        print(json.dumps({"put_to_first_call_s": spread(waits_s)}), file=sys.stderr)  # the rest takes its time
        wait_for(bench.is_quiet)
        end(worker)
        figures = bench.flood(asked.objects, watchers)
    taken = figures["taken_exactly_once"] == asked.objects and figures["calls_of_the_provider"] == asked.objects
    said = {"put_to_first_call_s": spread(waits_s), **figures, "wall_s": round(time.monotonic() - began_s, 1)}
    print(json.dumps(said, indent=2))
    return 0 if taken else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The bucket door under load.")
    parser.add_argument("--quick", action="store_true", help="300 objects, 5 singles")
    parser.add_argument("--objects", type=int)
    parser.add_argument("--singles", type=int)
    asked = parser.parse_args()
    asked.objects = asked.objects or (300 if asked.quick else 3000)
    asked.singles = asked.singles or (5 if asked.quick else 20)
    return asked


@dataclass(slots=True)
class Moment:
    """What has been spent up to a moment."""

    time_s: float
    requests: Counter[str]
    watchers_cpu_s: float


class Bench:
    """The bucket, Redis, the provider, and what runs of the product."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        (folder / "weed").mkdir()
        self._weed = stack.enter_context(Seaweed(folder / "weed"))
        redis = stack.enter_context(EmbeddedRedis(folder / "redis"))
        self._redis = stack.enter_context(Redis.from_url(redis.url))
        self._env = {
            **os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": self._weed.address, "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self._s3 = s3_client(self._weed.address)
        self._s3.create_bucket(Bucket=BUCKET)
        simulator = self._process(["-m", "worker.simulator", "--providers", "1"], cwd=ROOT, stdout=subprocess.PIPE)
        assert simulator.stdout is not None
        self._provider = json.loads(simulator.stdout.readline())["providers"]["alpha"]
        self._env["SIM_KEY"] = self._provider["keys"]["main"]
        lines = [
            f'redis_url = "{redis.url}"', f'store = "s3://{BUCKET}"', 'default_provider = "alpha"', "[providers.alpha]",
            f'base_url = "{self._provider["base_url"]}"', 'api_key_env = "SIM_KEY"',
        ]  # fmt: skip
        (folder / "bucketline.toml").write_text("\n".join(lines) + "\n")
        self._dice = random.Random(8)

    def product(self, verb: str) -> subprocess.Popen[str]:
        """One process of the product."""
        return self._process(["-m", "worker.cli", verb], cwd=self._folder, stderr=(self._folder / "log").open("a"))

    def _process(self, arguments: list[str], **more: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, *arguments], env=self._env, text=True, **more)
        self._stack.callback(end, process)
        return process

    def single(self, name: str) -> float:
        """Put one object; seconds until the provider is called."""
        time.sleep(self._dice.uniform(0, POLL_S))
        before = self._calls()
        self._put(name)
        began_s = time.monotonic()
        wait_for(lambda: self._calls() > before, look_s=0.02)
        return time.monotonic() - began_s

    def flood(self, objects: int, watchers: list[subprocess.Popen[str]]) -> dict[str, Any]:
        """Put many objects at once, have them taken, then answered."""
        calls, batches = self._calls(), int(self._redis.zcard(BATCHES))
        began = self._now(watchers)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda number: self._put(f"many-{number}"), range(objects)))
        put_s = time.monotonic() - began.time_s
        wait_for(lambda: self._redis.zcard(BATCHES) >= batches + objects)
        taken = self._now(watchers)
        time.sleep(3 * POLL_S)  # further looks, for whoever would take one twice
        worker = self.product("work")
        answering = self._now(watchers)
        wait_for(self.is_quiet)
        answered = self._now(watchers)
        end(worker)
        counts = self._taken()
        return {
            "objects": objects,
            "watchers": WATCHERS,
            "put_s": round(put_s, 1),
            "taken_after_s": round(taken.time_s - began.time_s, 1),
            "results_after_further_s": round(answered.time_s - answering.time_s, 1),
            "taken_exactly_once": sum(count == 1 for count in counts.values()),
            "taken_more_than_once": sum(count > 1 for count in counts.values()),
            "calls_of_the_provider": self._calls() - calls,
            "watchers_cpu_ms_per_object": {
                "taking": round((taken.watchers_cpu_s - began.watchers_cpu_s) / objects * 1000, 1),
                "answering": round((answered.watchers_cpu_s - answering.watchers_cpu_s) / objects * 1000, 1),
            },
            "s3_requests_per_object": {
                "taking": per_object(taken.requests - began.requests - Counter(PUT=objects), objects),
                "answering": per_object(answered.requests - answering.requests, objects),
            },
        }

    def _now(self, watchers: list[subprocess.Popen[str]]) -> Moment:
        return Moment(time.monotonic(), self._weed.requests(), sum(cpu_s(watcher.pid) for watcher in watchers))

    def is_quiet(self) -> bool:
        """Whether every object that was taken has its results in the outbox."""
        return int(self._redis.hlen(INBOX)) == 0

    def _taken(self) -> Counter[str]:
        """Of each object of the flood: how many batches name it that have a last status for its results in the outbox."""
        documents = [key for key in self._keys("batches/") if key.endswith("/batch.json")]
        with ThreadPoolExecutor(16) as pool:
            batches = list(pool.map(self._get, documents))
            told = pool.map(self._get, [key for key in self._keys("outbox/") if key.endswith("/status.json")])
            completed = {each["source"] for each in told if each["status"] == "completed"}
        sources = Counter(batch["source"] for batch in batches if batch["source"].startswith("inbox/many-"))
        return Counter({source: count for source, count in sources.items() if source in completed})

    def _put(self, name: str) -> None:
        body = {"model": "small", "messages": [{"role": "user", "content": name}]}
        line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        self._s3.put_object(Bucket=BUCKET, Key=f"inbox/{name}.jsonl", Body=json.dumps(line).encode())

    def _get(self, key: str) -> Any:
        return json.loads(self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def _keys(self, prefix: str) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def _calls(self) -> int:
        with urlopen(f"{self._provider['root_url']}/__books", timeout=30) as answer:
            return int(json.load(answer)["totals"]["calls"])


def s3_client(endpoint: str) -> Any:
    config = Config(max_pool_connections=16, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, config=config, **keys)


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)


def wait_for(done: Callable[[], bool], *, look_s: float = 0.25) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > ends_s:
            raise SystemExit(f"Something did not come to its end within {PATIENCE_S:.0f} s.")
        time.sleep(look_s)


def spread(waits_s: list[float]) -> dict[str, float]:
    ordered = sorted(waits_s)
    middle, high = ordered[len(ordered) // 2], ordered[len(ordered) * 9 // 10]
    figures = {"min": ordered[0], "median": middle, "p90": high, "max": ordered[-1]}
    return {"objects": len(ordered)} | {name: round(value, 2) for name, value in figures.items()}


def per_object(requests: Counter[str], objects: int) -> dict[str, float]:
    return {
        kind: round(count / objects, 2) for kind, count in sorted((requests | Counter(all=requests.total())).items())
    }


if __name__ == "__main__":
    sys.exit(main())
