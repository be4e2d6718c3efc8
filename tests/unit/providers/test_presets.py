"""Providers by name alone: the address, the wire and the place of the key, and what a cloud needs besides."""

from __future__ import annotations

import pytest

from bucketline.catalog import PRESETS, WIRES, Catalog, Provider
from bucketline.errors import ConfigError
from bucketline.settings import Settings
from worker.providers import adapter_for
from worker.providers.quirks import quirks_of


def provider(name: str, env: dict[str, str] | None = None, **given: object) -> Provider:
    providers = {name: given} if given else {}
    return Catalog(Settings.model_validate({"providers": providers}), env or {}).provider(name)


CLOUD = {"AWS_REGION": "eu-west-1", "GOOGLE_CLOUD_PROJECT": "p1", "GOOGLE_CLOUD_LOCATION": "europe-west4"}


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "azure"])
def test_every_preset_works_with_its_usual_variables_alone(name: str) -> None:
    assert adapter_for(provider(name, CLOUD).wire)


def test_every_wire_that_a_configuration_may_name_has_its_adapter() -> None:
    assert all(adapter_for(wire) for wire in WIRES)
    with pytest.raises(ConfigError, match=r"no wire 'opnai'; did you mean 'openai'\?"):
        provider("alpha", wire="opnai", base_url="http://h")
    with pytest.raises(ConfigError, match="no wire 'x'"):
        adapter_for("x")


def test_an_openai_compatible_host_takes_a_few_lines_and_no_code() -> None:
    alpha = provider("alpha", base_url="http://127.0.0.1:8000/v1/", api_key_env="ALPHA_API_KEY")
    assert (alpha.wire, alpha.base_url, alpha.api_key_env) == ("openai", "http://127.0.0.1:8000/v1", "ALPHA_API_KEY")


def test_a_clouds_region_and_project_come_from_its_own_variables_unless_configured() -> None:
    assert provider("bedrock", CLOUD).region == "eu-west-1"
    assert provider("bedrock", CLOUD, region="us-east-1").region == "us-east-1"
    vertex = provider("vertex", CLOUD)
    assert (vertex.project, vertex.region) == ("p1", "europe-west4")


@pytest.mark.parametrize(
    ("name", "word"), [("bedrock", "AWS_REGION"), ("vertex", "GOOGLE_CLOUD_PROJECT"), ("azure", "base_url")]
)
def test_what_a_cloud_lacks_is_one_sentence_that_names_it(name: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        provider(name)


def test_vertex_in_express_mode_needs_a_key_and_no_project() -> None:
    assert provider("vertex", api_key_env="VERTEX_KEY").project is None


def test_presets_with_rules_of_their_own_are_known_to_the_rules() -> None:
    """A renamed preset would lose its care silently."""
    for name in (
        "openai",
        "azure",
        "moonshot",
        "moonshot-cn",
        "llmapi",
        "openrouter",
        "deepseek",
        "groq",
        "together",
        "mistral",
        "ollama",
    ):
        assert name in PRESETS
        assert not quirks_of(name, "").plain
