"""Simulated LLM providers: they answer, limit, fail and bill by seed, and keep books that judge the product.

``server`` is the way in. In the order of a call: ``server`` finds the wire, ``provider`` decides (``author`` writes the
answer, ``faults`` and ``phases`` make the weather, ``account`` and ``limits`` let in or refuse), ``delivery`` sends,
``meter`` books. Imports nothing of the worker outside this folder.
"""

from __future__ import annotations

from worker.simulator.config import (
    AccountScope,
    ModelConfig,
    Prices,
    ProviderConfig,
    RetryAfter,
    SimulatorConfig,
    Tier,
    WireName,
    read_config,
)
from worker.simulator.faults import Fault, Weather
from worker.simulator.limits import Counting, Limits
from worker.simulator.phases import Phase, PhaseKind
from worker.simulator.presets import bad_weather, fair_weather
from worker.simulator.server import Simulator

__all__ = [
    "AccountScope",
    "Counting",
    "Fault",
    "Limits",
    "ModelConfig",
    "Phase",
    "PhaseKind",
    "Prices",
    "ProviderConfig",
    "RetryAfter",
    "Simulator",
    "SimulatorConfig",
    "Tier",
    "Weather",
    "WireName",
    "bad_weather",
    "fair_weather",
    "read_config",
]
