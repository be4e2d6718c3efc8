"""Any interleaving keeps the gate's promises, on fakeredis."""

import fakeredis
from hypothesis import settings

from tests.gatekit.machine import GateMachine
from tests.gatekit.scripted import Fleet


class OnFakeRedis(GateMachine):
    def make_fleet(self) -> Fleet:
        return Fleet(fakeredis.FakeRedis())


TestGate = OnFakeRedis.TestCase
TestGate.settings = settings(max_examples=5, stateful_step_count=20, deadline=None)
