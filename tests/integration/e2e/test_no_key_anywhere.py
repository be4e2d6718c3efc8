"""No secret leaves for anywhere but its own provider: everything that the product writes is searched for them.

The provider is the worst there is: it says the key that it was shown in every error, in JSON, in HTML, in a stream.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.integration.e2e.conftest import Command
from tests.integration.line.answering import Answering, Told, answering

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ENV_KEY, FILE_KEY = "sk-proj-INTHEENVIRONMENT0123456789abcdef", "sk-ant-INTHEFILE0123456789abcdefghijklm"
AWS_SECRET = "INTHECLOUD0123456789abcdefghijklmnopqrst"
#: keys under the other names of their variables
GOOGLE_KEY, GATEWAY_KEY = "AIzaINTHEOTHERNAME0123456789abcdefghijk", "llmgtwy_INTHEOTHERNAME0123456789abcdefg"
SECRETS = (ENV_KEY, FILE_KEY, AWS_SECRET, GOOGLE_KEY, GATEWAY_KEY)
KEY_HEADERS = ("authorization", "x-api-key", "x-goog-api-key")
_SLOWED: set[str] = set()  #: who was told to slow down already; told again and again, a line would wait for ever
PROMPT = "a prompt that only the provider may read"
STATUSES = {"1": 400, "2": 401, "3": 403, "4": 429, "5": 500, "6": 200, "7": 529, "8": 404}


def needles() -> list[bytes]:
    """Each secret as it is, as base64 at any of its three alignments, and as hex."""
    found = []
    for secret in SECRETS:
        raw = secret.encode()
        found += [raw, raw.hex().encode()]
        found += [base64.b64encode(raw[at : at + 24]) for at in range(3)]
    return found


def shown_by(call: Told) -> str:
    """The key that a call came with."""
    return "".join(call.headers.get(name, "") for name in KEY_HEADERS)


def hostile(call: Told) -> tuple[int, dict[str, str], Any]:
    """An answer for the line that is asked to go well; else an error that repeats the key and the prompt."""
    shown = shown_by(call)
    mood = call.body.partition(PROMPT.encode())[2][1:2].decode()
    if mood not in STATUSES:
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}
        return 200, {}, {"id": "c", "model": "m", "choices": [choice], "usage": usage}
    if mood == "4":
        if shown in _SLOWED:
            return 400, {}, {"error": {"message": shown}}
        _SLOWED.add(shown)
    words = f"Incorrect API key provided: {shown} for {PROMPT}; ask again in 0.01s"
    return STATUSES[mood], {"retry-after": "0.01"}, {"error": {"message": words, "type": shown, "code": shown}}


def settings(folder: Path, server: Answering, redis_url: str, store: str) -> None:
    (folder / "key").write_text(FILE_KEY + "\n")
    lines = [
        f'redis_url = "{redis_url}"',
        f'store = "{store}"',
        "[providers.alpha]",
        f'base_url = "{server.url}"',
        'api_key_env = "ALPHA_KEY"',
        "[providers.beta]",
        'wire = "anthropic"',
        f'base_url = "{server.url}"',
        f'api_key_file = "{folder / "key"}"',
        "[providers.google]",
        f'base_url = "{server.url}"',
        "[providers.llmapi]",
        f'base_url = "{server.url}"',
        'stream = "never"',
        "[models.small]",
        'routes = [{ provider = "alpha", model = "m" }]',
        "[models.other]",
        'routes = [{ provider = "beta", model = "m" }, { provider = "alpha", model = "m" }]',
        "[models.third]",
        'routes = [{ provider = "google", model = "m" }, { provider = "llmapi", model = "m" }]',
        "[retry]",
        "base_delay_s = 0.01",
        "max_delay_s = 0.05",
        "max_attempts = 2",
        'on_quota = "fail"',
    ]
    (folder / "bucketline.toml").write_text("\n".join(lines) + "\n")


def batch_of(model: str) -> str:
    def line(mood: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": f"{PROMPT} {mood}"}]}
        return json.dumps({"custom_id": mood, "method": "POST", "url": "/v1/chat/completions", "body": body})

    return "\n".join(line(mood) for mood in "013456780").replace('"0"', '"x"', 1) + "\n"


@contextmanager
def every_command(url: str) -> Iterator[list[bytes]]:
    """What Redis is told, while it is told: much of it is gone again before anybody could look."""
    heard: list[bytes] = []
    with Redis.from_url(url) as client, client.monitor() as monitor:

        def listen() -> None:
            with suppress(RedisError, OSError, ValueError, AttributeError):
                while True:
                    heard.append(str(monitor.next_command()).encode())

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield heard
        with Redis.from_url(url) as other:
            other.client_kill_filter(_type="normal", skipme=True)
        listener.join(timeout=5)


def dumped(url: str) -> list[bytes]:
    with Redis.from_url(url) as redis:
        return [redis.dump(key) or b"" for key in redis.scan_iter(count=1000)]


def objects(client: S3Client, bucket: str) -> dict[str, bytes]:
    listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {one["Key"]: client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in listed}


@pytest.mark.slow
async def test_everything_the_product_writes_is_free_of_secrets(
    command: Command, redis_url: str, s3_bucket: str, s3_client: S3Client, s3_environment: str
) -> None:
    async with answering(hostile) as server:
        settings(command.folder, server, redis_url, f"s3://{s3_bucket}/p")
        command.env |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        command.env |= {"AWS_SECRET_ACCESS_KEY": AWS_SECRET, "ALPHA_KEY": ENV_KEY}
        command.env |= {"GOOGLE_API_KEY": GOOGLE_KEY, "LLM_API_KEY": GATEWAY_KEY}
        with every_command(redis_url) as heard:
            said = await asyncio.to_thread(use, command)
        kept = dumped(redis_url)
        shown = {shown_by(call) for call in server.calls}
    assert {f"Bearer {ENV_KEY}", FILE_KEY, GOOGLE_KEY, f"Bearer {GATEWAY_KEY}"} <= shown, (
        "the providers were not shown their keys"
    )
    stored = objects(s3_client, s3_bucket)
    files = {
        str(path): path.read_bytes() for path in command.folder.rglob("*") if path.is_file() and path.name != "key"
    }
    assert any(name.endswith("errors.jsonl") and len(raw) > 500 for name, raw in stored.items())
    assert len(heard) > 100
    assert len(kept) > 3
    written = {**stored, **files, "commands": b"\n".join(heard), "kept": b"\n".join(kept), "said": said.encode()}
    for name, raw in written.items():
        for needle in needles():
            assert needle not in raw, f"{name} holds a secret: …{raw[max(0, raw.index(needle) - 80) :][:80]!r}"
    logs = b"".join(raw for name, raw in files.items() if "stderr-" in name)
    assert PROMPT.encode() not in logs + written["said"]


def use(command: Command) -> str:
    """Three batches by the fleet, one on this machine, and every verb that looks; what they said."""
    worker = command.start("work")
    try:
        return _use(command)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0


def _use(command: Command) -> str:
    said = []
    for model in ("small", "other", "third"):
        (command.folder / f"{model}.jsonl").write_text(batch_of(model))
        done = command.run("submit", f"{model}.jsonl")
        batch_id = json.loads(done.stdout)["id"]
        said += [done.stdout, done.stderr]
        for verb in (["wait", batch_id], ["results", batch_id, "-o", f"out-{model}"], ["verify", batch_id]):
            done = command.run(*verb, code=None)
            said += [done.stdout, done.stderr]
    for verb in (["status"], ["doctor"], ["limits"], ["circuits"], ["spend"], ["estimate", "small.jsonl"]):
        done = command.run(*verb, code=None)
        said += [done.stdout, done.stderr]
    done = command.run("run", "other.jsonl", "-o", "near", code=None)
    said += [done.stdout, done.stderr]
    return "\n".join(said)
