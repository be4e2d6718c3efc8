"""The promises of the admission script, on fakeredis."""

from tests.gatekit.promises import *  # noqa: F403
