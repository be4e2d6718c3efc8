"""What tests share: a clean environment, a real Redis server of their own, an S3 server of their own.

The Redis server is found the way the product finds it (``worker.embedded``), one for each pytest process, on a
private socket; a test that asks for ``redis_url`` gets it empty. The S3 server is moto's, on a free loopback port; a
test that asks for ``s3_bucket`` gets a new bucket and the SDK's usual variables set to it.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from worker.embedded import EmbeddedRedis

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LEAKS = ("AWS_", "BUCKETLINE_", "GOOGLE_", "OPENAI_", "ANTHROPIC_", "REDIS_")
_LEAK_ENDS = ("_API_KEY", "_PROXY", "_proxy")
_KEPT = frozenset({"BUCKETLINE_CASES"})


# How fast examples are made says something about the machine, nothing about the product.
settings.register_profile("bucketline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bucketline")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No key, address or configuration of the machine reaches a test, nor a bucketline.toml that lies around."""
    for name in list(os.environ):
        if name not in _KEPT and (name.startswith(_LEAKS) or name.endswith(_LEAK_ENDS)):
            monkeypatch.delenv(name)
    nowhere = str(tmp_path_factory.getbasetemp() / "nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", nowhere)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A real server for this pytest process; ended, by its process id, with the session."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The address of the server, emptied."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.script_flush()
    return redis_server.url


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[AsyncRedis]:
    """A client of the emptied server, for looking at what was written."""
    client: AsyncRedis = AsyncRedis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server that lives as long as this pytest process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The SDK's usual variables, pointing at the S3 server; returns its address."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    return s3_server


@pytest.fixture
def s3_client(s3_environment: str) -> Iterator[S3Client]:
    """A boto3 client of the S3 server, for looking at what was written."""
    import boto3

    client: Any = boto3.client("s3")
    yield client
    client.close()


@pytest.fixture
def s3_bucket(s3_client: S3Client) -> str:
    """The name of a bucket nobody has used."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own folder, also as the current one: where ``bucketline.toml`` is looked for."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
