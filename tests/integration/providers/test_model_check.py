"""``doctor --models``: which configured names a provider does not have, and which living one is nearest."""

from __future__ import annotations

import json
from typing import Any

from bucketline.settings import Settings
from producer.doctor import Finding, Health
from tests.integration.e2e.conftest import Command, command
from tests.integration.simulated import KEY, config_of
from worker.model_check import examine_models
from worker.simulator import Simulator

__all__ = ["command"]


def settings(url: str, **providers: Any) -> Settings:
    return Settings.model_validate(
        {
            "providers": {
                "alpha": {"base_url": f"{url}/v1", "api_key_env": "SIM"},
                "claude": {"wire": "anthropic", "base_url": url, "api_key_env": "SIM"},
                "google": {"wire": "gemini", "base_url": url, "api_key_env": "SIM"},
                **providers,
            },
            "models": {
                "a": {"routes": [{"provider": "alpha", "model": "small"}, {"provider": "alpha", "model": "smal"}]},
                "b": {"routes": [{"provider": "claude", "model": "small-thin"}]},
                "c": {"routes": [{"provider": "google", "model": "small-think"}]},
            },
        }
    )


async def found(given: Settings, env: dict[str, str]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in await examine_models(given, env)}


async def test_each_wires_list_is_asked_and_what_is_missing_is_named_with_the_nearest() -> None:
    async with Simulator(config_of()) as simulator:
        said = await found(settings(simulator.root_url("alpha")), {"SIM": KEY})
    assert said["model alpha/smal"].sentence.endswith("the nearest one that is there is 'small'.")
    assert said["model claude/small-thin"].sentence.endswith("the nearest one that is there is 'small-think'.")
    assert said["model alpha/smal"].exit_code == 2
    assert said["models of google"].sentence == "2 listed; 1 of the 1 configured are among them"
    assert not any(subject.startswith("model google/") for subject in said)


async def test_a_provider_that_cannot_be_asked_is_a_warning_and_retired_names_are_told_all_the_same() -> None:
    moonshot = {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "SIM", "models": {"kimi-k2-thinking": {"rpm": 5}}}
    cloud = {"wire": "bedrock", "region": "eu-west-1"}
    locked = {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "NOT_SET"}
    async with Simulator(config_of()) as simulator:
        given = settings(simulator.root_url("alpha"), moonshot=moonshot, cloud=cloud, locked=locked)
        said = await found(given, {"SIM": "a-wrong-key"})
    assert said["models of moonshot"].health is Health.WARNING
    assert "'kimi-k2.6'" in said["model moonshot/kimi-k2-thinking"].sentence
    assert "NOT_SET" in said["models of locked"].sentence
    assert said["models of cloud"].health is Health.WELL


def test_the_command_says_so_and_ends_with_2(command: Command) -> None:
    (command.folder / "bucketline.toml").write_text(
        '[providers.moonshot]\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[models.k]\nroutes = [{ provider = "moonshot", model = "kimi-k2-thinking" }]\n'
    )
    command.env["MOONSHOT_API_KEY"] = "k"
    said = json.loads(command.run("doctor", "--models", "--json", code=2).stdout)
    assert any(one["subject"] == "model moonshot/kimi-k2-thinking" for one in said["findings"])
    command.run("doctor", code=0)
