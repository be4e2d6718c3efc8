"""Three thousand objects dropped into a bucket at once, three watchers, one worker: is each taken once, and how soon?

    python -m bench.inbox [OBJECTS] [SINGLES]      default: 3000 objects, 10 single ones before them

Prints one JSON document. The single objects come one by one into an inbox at rest, with the polling as configured by
default; for each the time from the end of its put to the provider's first call is taken. Then all the others are put at
once, and batches are counted until every object has one. Everything but this process is the product in processes of its
own: watchers, worker, simulated provider; the bucket is moto's, in a process too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from redis import Redis

from bucketline.keys import BATCHES
from worker.embedded import EmbeddedRedis

BUCKET, WATCHERS = "bench", 3
ENV = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
PATIENCE_S = 900.0


def main(objects: int, singles: int) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bucketline-inbox-")))
        redis = stack.enter_context(EmbeddedRedis(folder / "redis"))
        s3, endpoint = _bucket(stack)
        simulator = _process(stack, ["-m", "worker.simulator", "--providers", "1"], stdout=subprocess.PIPE)
        assert simulator.stdout is not None
        provider = json.loads(simulator.stdout.readline())["providers"]["alpha"]
        _configure(folder, redis.url, provider)
        env = {**ENV, "AWS_ENDPOINT_URL_S3": endpoint, "SIM_KEY": provider["keys"]["main"]}
        for verb in ["inbox"] * WATCHERS + ["work"]:
            _process(stack, ["-m", "worker.cli", verb], cwd=folder, env=env, stderr=(folder / "log").open("a"))
        waits_s = [_first_call_s(s3, provider, number) for number in range(singles + 1)]
        # the first one waited for the processes to start
        return {"singles_put_to_first_call_s": _spread(waits_s[1:]), **_flood(s3, redis.url, objects, singles + 1)}


def _first_call_s(s3: Any, provider: dict[str, Any], number: int) -> float:
    """Put one object; seconds until the provider is called."""
    before = _calls(provider)
    _put(s3, f"single-{number}")
    began = time.monotonic()
    while _calls(provider) == before:
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit("A single object was not taken up.")
        time.sleep(0.05)
    return time.monotonic() - began


def _flood(s3: Any, redis_url: str, objects: int, singles: int) -> dict[str, Any]:
    """Put many objects; how long until each has its batch, and how many have more than one."""
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: _put(s3, f"many-{number}"), range(objects)))
    put_s, started = time.monotonic() - began, 0
    with Redis.from_url(redis_url) as redis:  # a listing of the store would be the server's heaviest load
        while started < objects + singles and time.monotonic() - began < PATIENCE_S:
            time.sleep(0.5)
            started = int(redis.zcard(BATCHES))
    taken_s = time.monotonic() - began
    time.sleep(6)  # two more looks, for whoever would take one twice
    documents = [key for key in _keys(s3, "batches/") if key.endswith("/batch.json")]
    with ThreadPoolExecutor(16) as pool:
        sources = Counter(json.loads(_get(s3, key))["source"] for key in documents)
    return {
        "objects": objects,
        "put_s": round(put_s, 1),
        "taken_s": round(taken_s, 1),
        "taken_once": sum(1 for count in sources.values() if count == 1) - singles,
        "taken_twice": sum(1 for count in sources.values() if count > 1),
    }


def _bucket(stack: ExitStack) -> tuple[Any, str]:
    """A moto server in a process of its own, with one bucket."""
    code = (
        "import logging, time; from moto.server import ThreadedMotoServer; "
        "logging.getLogger('werkzeug').setLevel(logging.ERROR); "
        "s = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); s.start(); "
        "print('http://%s:%s' % s.get_host_and_port(), flush=True); time.sleep(1e6)"
    )
    server = _process(stack, ["-c", code], stdout=subprocess.PIPE)
    assert server.stdout is not None
    endpoint = server.stdout.readline().strip()
    config = Config(max_pool_connections=16, s3={"addressing_style": "path"})
    s3: Any = boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=config,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    for _ in range(100):
        try:
            s3.create_bucket(Bucket=BUCKET)
            break
        except BotoCoreError:
            time.sleep(0.1)
    return s3, endpoint


def _process(stack: ExitStack, arguments: list[str], *, env: dict[str, str] | None = None, **more: Any) -> Any:
    root = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": root, **(env or {})}, text=True, **more
    )

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)

    stack.callback(end)
    return process


def _configure(folder: Path, redis_url: str, provider: dict[str, Any]) -> None:
    lines = [
        f'redis_url = "{redis_url}"',
        f'store = "s3://{BUCKET}"',
        'default_provider = "alpha"',
        "[providers.alpha]",
        f'base_url = "{provider["base_url"]}"',
        'api_key_env = "SIM_KEY"',
    ]
    (folder / "bucketline.toml").write_text("\n".join(lines) + "\n")


def _put(s3: Any, name: str) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": name}]}
    line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
    s3.put_object(Bucket=BUCKET, Key=f"inbox/{name}.jsonl", Body=json.dumps(line).encode())


def _get(s3: Any, key: str) -> bytes:
    data: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return data


def _keys(s3: Any, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] for page in pages for each in page.get("Contents", ())]


def _calls(provider: dict[str, Any]) -> int:
    from urllib.request import urlopen

    with urlopen(f"{provider['root_url']}/__books", timeout=30) as answer:
        return int(json.load(answer)["totals"]["calls"])


def _spread(waits_s: list[float]) -> dict[str, float]:
    ordered = sorted(waits_s)
    return {"median": round(ordered[len(ordered) // 2], 2), "max": round(ordered[-1], 2)} if ordered else {}


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]] + [3000, 10][len(sys.argv) - 1 :]
    print(json.dumps(main(*given), indent=2))
