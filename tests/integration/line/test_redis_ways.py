"""Ways to Redis: TLS under a private CA with the name checked, Sentinel over a fail-over, a cluster refused in one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bucketline.connect import connect_redis
from bucketline.errors import ConfigError, ServiceUnavailable
from tests.integration.line.certificates import private_ca
from tests.integration.line.weathered import a_scene
from tests.replay.child import Child
from tests.replay.services import _redis_binary, free_port, plain_env


async def server(folder: Path, name: str, *options: str, port: int | None = None) -> tuple[Child, int]:
    """A Redis server with options of its own, answering."""
    port = port or free_port()
    place = folder / name
    place.mkdir(exist_ok=True)
    command = [str(_redis_binary()), *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place)]
    child = Child(command, folder=place, name=name, env=plain_env() | {"LC_ALL": "C"})
    async with asyncio.timeout(20):
        while not await answers(port):
            assert child.exit is None, child.said()
            await asyncio.sleep(0.02)
    return child, port


async def answers(port: int) -> bool:
    try:
        async with Redis(port=port, single_connection_client=False) as redis:
            return bool(await redis.ping())
    except Exception:
        return False


@contextlib.asynccontextmanager
async def behind_tls(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS endpoint before a plain server."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                while block := await source.read(65536):
                    sink.write(block)
                    await sink.drain()
            sink.transport.abort()

        await asyncio.gather(way(reader, far_writer), way(far_reader, writer))

    listener = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[tuple[int, Path]]:
    ca_file, context = private_ca(tmp_path)
    child, port = await server(tmp_path, "plain")
    async with behind_tls(port, context) as secure:
        yield secure, ca_file
    child.close()


async def test_a_private_ca_is_named_in_the_address(tls: tuple[int, Path]) -> None:
    port, ca_file = tls
    redis = await connect_redis(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca_file}")
    assert await redis.ping()
    await redis.aclose()


async def test_an_unknown_ca_is_refused(tls: tuple[int, Path]) -> None:
    port, _ = tls
    with pytest.raises(ServiceUnavailable, match=r"cannot be reached \(.*certificate"):
        await connect_redis(f"rediss://127.0.0.1:{port}/0")


async def test_a_certificate_of_another_name_is_refused_unless_one_says_so(tls: tuple[int, Path]) -> None:
    """redis-py does not check the name by default: whoever has any certificate of the CA could stand in the middle."""
    port, ca_file = tls
    address = f"rediss://localhost:{port}/0?ssl_ca_certs={ca_file}"
    with pytest.raises(ServiceUnavailable, match=r"[Hh]ostname mismatch"):
        await connect_redis(address)
    redis = await connect_redis(address + "&ssl_check_hostname=false")
    assert await redis.ping()
    await redis.aclose()


async def test_a_cluster_is_refused_in_one_sentence(tmp_path: Path) -> None:
    child, port = await server(tmp_path, "cluster", "--cluster-enabled", "yes")
    with pytest.raises(ConfigError, match="is a Redis Cluster, which the queue cannot run on") as caught:
        await connect_redis(f"redis://127.0.0.1:{port}/0")
    assert "\n" not in str(caught.value)
    child.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_a_redis_that_may_drop_anything_is_refused_unless_allowed(tmp_path: Path, policy: str) -> None:
    child, port = await server(tmp_path, "evicting", "--maxmemory-policy", policy, "--maxmemory", "100mb")
    address = f"redis://127.0.0.1:{port}/0"
    with pytest.raises(ConfigError, match="allow_evicting_redis"):
        await connect_redis(address, evicting=False)
    redis = await connect_redis(address, evicting=True)
    await redis.aclose()
    child.close()


@pytest.mark.slow
async def test_sentinel_leads_to_the_new_primary_and_the_batch_goes_on(tmp_path: Path) -> None:
    """The primary dies in the middle; what the replica had not heard of yet is told again by the worker that has it."""
    primary, port = await server(tmp_path, "primary")
    replica, replica_port = await server(tmp_path, "replica", "--replicaof", f"127.0.0.1 {port}")
    file = tmp_path / "sentinel.conf"
    file.write_text(
        f"sentinel monitor line 127.0.0.1 {port} 1\n"
        "sentinel down-after-milliseconds line 800\nsentinel failover-timeout line 3000\n"
    )
    sentinel_port = free_port()
    binary = str(_redis_binary())
    sentinel = Child(
        [binary, str(file), "--sentinel", "--port", str(sentinel_port), "--bind", "127.0.0.1"],
        folder=tmp_path,
        name="sentinel",
        env=plain_env() | {"LC_ALL": "C"},
    )
    try:
        async with asyncio.timeout(20), Redis(port=replica_port) as client:
            while (await client.info("replication")).get("master_link_status") != "up":
                await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            while not await _sees_a_replica(sentinel_port):
                await asyncio.sleep(0.1)
        async with a_scene(tmp_path, latency_s=0.3, concurrency=10) as scene:
            address = f"redis+sentinel://127.0.0.1:{sentinel_port}/line/0"
            scene.settings = scene.settings.model_copy(update={"redis_url": address})
            await scene.start()
            batch_id = await scene.submit_at(address, 100)
            async with asyncio.timeout(20):
                while scene.calls < 20:
                    await asyncio.sleep(0.02)
            primary.close()
            _, answered, failed = await scene.results(batch_id)
            assert (len(answered), failed) == (100, [])
            assert scene.calls == 100
            assert "vote" in sentinel.said()[0] or "switch-master" in sentinel.said()[0]
    finally:
        for child in (primary, replica, sentinel):
            child.close()


async def _sees_a_replica(sentinel_port: int) -> bool:
    try:
        async with Redis(port=sentinel_port) as sentinel:
            return bool(await sentinel.sentinel_slaves("line"))
    except Exception:
        return False
