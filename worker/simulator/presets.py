"""Ready-made simulations: the demo's two providers in bad weather, and any number of plain ones.

In: a seed. Out: a ``SimulatorConfig``. The demo, the command and tests start from these and change what they need with
``dataclasses.replace``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.simulator.config import ModelConfig, Prices, ProviderConfig, SimulatorConfig
from worker.simulator.faults import Fault, Weather
from worker.simulator.limits import Limits

__all__ = ["bad_weather", "fair_weather"]

_NAMES: Final = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
_RATES: Final[Mapping[Fault, float]] = {
    Fault.LIMITED: 0.002, Fault.ERROR_500: 0.01, Fault.ERROR_503: 0.007, Fault.OVERLOADED: 0.003,
    Fault.DROPPED: 0.006, Fault.LOST: 0.004, Fault.BROKEN: 0.005,
}  # fmt: skip
_BAD: Final = Weather(_RATES, latency_s=0.6, sigma=0.4, tail=0.03, tail_alpha=1.2, max_latency_s=8.0)


def bad_weather(seed: int) -> SimulatorConfig:
    """Two providers on a bad day: 0.3 to 1.5 s with a heavy tail, 0.2 % 429, 2 % 5xx, 1 % dropped, 0.5 % broken.

    Each lets 50 requests a second through for long, so 2,000 take about half a minute. A refusal is rare because it
    stands for the whole account: everybody waits for as long as it says.
    Models ``alpha-small`` and ``beta-small``; keys ``sk-sim-alpha`` and ``sk-sim-beta``.
    """
    return SimulatorConfig(
        {
            "alpha": _provider("alpha", Prices("1.00", "3.00", "0.25"), _BAD, Limits(rpm=3000, concurrency=120)),
            "beta": _provider("beta", Prices("1.50", "6.00", "0.30"), _BAD, Limits(rpm=3000, concurrency=80)),
        },
        seed=seed,
    )  # fmt: skip


def fair_weather(providers: int, seed: int) -> SimulatorConfig:
    """So many providers (at most eight) that answer at once, without faults, limits or end of money.

    Each has ``NAME-small`` at 1.00 and 3.00 USD per million tokens, and takes any other model unpriced.
    """
    if not 1 <= providers <= len(_NAMES):
        raise ValueError(f"There can be 1 to {len(_NAMES)} providers.")
    prices = Prices("1.00", "3.00", "0.25")
    made = {name: _provider(name, prices, Weather(), Limits(), others=True) for name in _NAMES[:providers]}
    return SimulatorConfig(made, seed=seed)


def _provider(name: str, prices: Prices, weather: Weather, limits: Limits, *, others: bool = False) -> ProviderConfig:
    models = {f"{name}-small": ModelConfig(prices)} | ({"*": ModelConfig()} if others else {})
    return ProviderConfig(models=models, keys={"main": f"sk-sim-{name}"}, limits=limits, weather=weather)
