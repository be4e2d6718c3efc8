"""The command and the simulator as processes, shared with the end-to-end tests."""

from tests.integration.e2e.conftest import command, simulate

__all__ = ["command", "simulate"]
