"""Names of models: asked for, read, and the nearest living one told for a name that is gone."""

from __future__ import annotations

from typing import Any

import pytest

from bucketline.catalog import PRESETS
from bucketline.failure import Failure, Kind
from bucketline.model_ids import MODEL_IDS, RETIRED, nearest
from tests.samples import provider, reply
from worker.providers.model_lists import list_call, read_list


@pytest.mark.parametrize(
    ("wire", "host", "url", "header"),
    [
        ("openai", "moonshot", "https://api.moonshot.ai/v1/models", ("Authorization", "Bearer k")),
        ("openai", "azure", "https://res1.openai.azure.com/openai/v1/models", ("api-key", "k")),
        ("anthropic", "anthropic", "https://api.anthropic.com/v1/models?limit=1000", ("x-api-key", "k")),
        ("gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000", ("x-goog-api-key", "k")),
    ],
)  # fmt: skip
def test_each_list_has_its_address(wire: str, host: str, url: str, header: tuple[str, str]) -> None:
    call = list_call(provider(wire, host), "k")
    assert call is not None
    assert (call.method, call.url, call.headers[header[0]]) == ("GET", url, header[1])


def test_clouds_have_no_list_to_ask_for() -> None:
    assert list_call(provider("bedrock", region="r"), "") is None
    assert list_call(provider("vertex", project="p"), "") is None


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"object": "list", "data": [{"id": "b"}, {"id": "a"}]}, ("a", "b")),
        ({"models": [{"name": "models/gemini-3.8-flash"}]}, ("gemini-3.8-flash",)),
        ([{"id": "a"}], ("a",)),
        ({"data": None}, ()),
        ({"data": [1, {"id": None}]}, ()),
    ],
)
def test_lists_of_every_shape_are_read(body: Any, names: tuple[str, ...]) -> None:
    assert read_list(reply(200, body)) == names


def test_a_refused_list_is_the_failure_that_a_call_would_have_been() -> None:
    result = read_list(
        reply(401, {"error": {"message": "bad key k-123456", "code": "invalid_api_key"}}), key="k-123456"
    )
    assert isinstance(result, Failure)
    assert result.kind is Kind.BAD_KEY
    assert "k-123456" not in result.message
    assert isinstance(read_list(reply(200, b"<html>")), Failure)


@pytest.mark.parametrize(
    ("model", "preset", "living", "found"),
    [
        ("kimi-k2-thinking", "moonshot", (), "kimi-k2.6"),
        ("kimi-k2-0905-preview", "moonshot-cn", (), "kimi-k2.6"),
        ("gpt-3.5-turbo", "openai", (), "gpt-5.4-nano"),
        ("gpt-5.4-mimi", "openai", (), "gpt-5.4-mini"),
        ("alpha-smal", None, ("alpha-small", "beta"), "alpha-small"),
        ("zzz", None, ("alpha-small",), None),
        ("kimi-k2-thinking", "moonshot", ("zeta-large",), None),
    ],
)
def test_the_nearest_living_name(model: str, preset: str | None, living: tuple[str, ...], found: str | None) -> None:
    """A successor that is itself gone is not named."""
    assert nearest(model, preset, living) == found


def test_successors_live_and_presets_exist() -> None:
    assert set(MODEL_IDS) <= set(PRESETS)
    for preset, gone in RETIRED.items():
        for beginning, (_, successor) in gone.items():
            assert successor in MODEL_IDS[preset]
            assert not any(name.startswith(beginning) for name in MODEL_IDS[preset]), beginning
