"""The script on a real server."""

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.gatekit.scripted import Fleet


@pytest.fixture
def fleet(redis_url: str) -> Iterator[Fleet]:
    with Redis.from_url(redis_url) as client:
        yield Fleet(client)
