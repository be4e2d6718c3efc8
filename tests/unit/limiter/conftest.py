"""The script on fakeredis: no server, the same promises."""

import fakeredis
import pytest

from tests.gatekit.scripted import Fleet


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(fakeredis.FakeRedis())
