"""The scripts, and gates, on a real server."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.gatekit.scripted import Fleet
from worker.limiter import Gate


@pytest.fixture
def fleet(redis_url: str) -> Iterator[Fleet]:
    with Redis.from_url(redis_url) as client:
        yield Fleet(client)


@pytest.fixture
async def gates(redis_url: str) -> AsyncIterator[Callable[..., Gate]]:
    """Makes gates of different workers on one server; closes them."""
    made: list[tuple[Gate, AsyncRedis]] = []

    def make(**options: object) -> Gate:
        redis: AsyncRedis = AsyncRedis.from_url(redis_url)
        gate = Gate(redis, f"worker-{len(made)}", **options)  # type: ignore[arg-type]
        made.append((gate, redis))
        return gate

    yield make
    for gate, redis in made:
        await gate.close()
        await redis.aclose()
