"""The promises of the admission script, on a real server."""

from tests.gatekit.fleet_promises import *  # noqa: F403
from tests.gatekit.promises import *  # noqa: F403
from tests.gatekit.standby_promises import *  # noqa: F403
