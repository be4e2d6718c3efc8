"""The end-to-end tests' command and simulators."""

from __future__ import annotations

from tests.integration.e2e.conftest import command, simulate

__all__ = ["command", "simulate"]
