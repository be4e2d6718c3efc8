"""Any interleaving keeps the gate's promises, on a real server."""

import pytest
from hypothesis import settings
from redis import Redis

from tests.gatekit.machine import GateMachine
from tests.gatekit.scripted import Fleet


def test_any_interleaving_keeps_the_promises(redis_url: str) -> None:
    """No window exceeds its limit, order in a priority holds, nothing waits for ever."""
    with Redis.from_url(redis_url) as client:

        class OnServer(GateMachine):
            def make_fleet(self) -> Fleet:
                return Fleet(client)

        case = OnServer.TestCase()
        case.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
        case.runTest()


pytestmark = pytest.mark.slow
