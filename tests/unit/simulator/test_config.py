"""A configuration from outside is read strictly, and every mistake is one sentence that names its place."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from bucketline.errors import ConfigError
from worker.simulator import Fault, Limits, PhaseKind, Weather, WireName, bad_weather, fair_weather, read_config
from worker.simulator.config import changed

_TOML = """
seed = 5
[providers.alpha]
wire = "anthropic"
keys = { main = "sk-1" }
limits = { rpm = 60, window_s = 1.0, counting = "declared" }
weather = { latency_s = 0.1, rates = { limited = 0.1, hang = 0.01 } }
phases = [{ kind = "dead", after_calls = 10, for_s = 2 }]
[providers.alpha.models.small]
prices = { input = "1.00", output = "3.00", tiers = [{ over_input_tokens = 100, input = "2", output = "6" }] }
limits = { tpm = 1000 }
"""


def test_a_file_is_read_into_records() -> None:
    alpha = read_config(tomllib.loads(_TOML)).providers["alpha"]
    assert alpha.wire is WireName.ANTHROPIC
    assert alpha.weather.rates == {Fault.LIMITED: 0.1, Fault.HANG: 0.01}
    assert alpha.phases[0].kind is PhaseKind.DEAD
    assert alpha.models["small"].limits == Limits(tpm=1000)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"providers": {"a": {"wether": {}}}}, "providers.a.wether: there is no such setting."),
        ({"providers": {"a": {"weather": {"rates": {"cut": 2}}}}}, "providers.a.weather: rates are shares"),
        ({"providers": {"a": {"limits": {"rpm": "many"}}}}, "providers.a.limits.rpm: "),
        ({}, "providers: "),
    ],
)
def test_a_mistake_is_named_with_its_place(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(wrong)
    assert str(caught.value).startswith(sentence)


def test_a_change_keeps_what_it_does_not_name() -> None:
    weather = changed(Weather({Fault.CUT: 0.1}, latency_s=2), {"sigma": 0.3}, "weather")
    assert weather == Weather({Fault.CUT: 0.1}, latency_s=2, sigma=0.3)


def test_presets_are_valid_and_can_be_changed() -> None:
    assert sum(bad_weather(1).providers["alpha"].weather.rates.values()) == pytest.approx(0.037)
    assert replace(bad_weather(1), seed=2) == bad_weather(2)
    assert list(fair_weather(3, 0).providers) == ["alpha", "beta", "gamma"]
    with pytest.raises(ValueError, match="1 to 8"):
        fair_weather(9, 0)
