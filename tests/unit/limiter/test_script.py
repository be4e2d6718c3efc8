"""The promises of the admission script, on fakeredis."""

from tests.gatekit.fleet_promises import *  # noqa: F403
from tests.gatekit.promises import *  # noqa: F403
from tests.gatekit.standby_promises import *  # noqa: F403
