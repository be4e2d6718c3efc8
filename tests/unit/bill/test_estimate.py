"""Tokens and money before anything is sent: near enough at once, nearer after one batch of the same model."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from bucketline.errors import ConfigError
from bucketline.layout import input_object, manifest_copy, output_object
from bucketline.request import Request, read_request
from bucketline.store import Store, open_store
from producer.estimate import estimate
from producer.weigh import Reading, Sample, Weight, fit, weigh
from tests.unit.bill.batches_for_tests import finish, write_batch
from tests.unit.bill.prices_for_tests import NOW_S, World

WORLD = World(
    {
        "alpha/small": {"input": "1.00", "output": "3.00", "tiers": [{"over_input_tokens": 1000, "input": "2.00"}]},
        "beta/large": {"input": "2.00", "output": "6.00"},
    },
    models={"small": {"routes": [{"provider": "alpha", "model": "small"}, {"provider": "beta", "model": "large"}]}},
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def _request(body: dict[str, Any], url: str = "/v1/chat/completions") -> Request:
    raw = orjson.dumps({"custom_id": "a", "method": "POST", "url": url, "body": body})
    request = read_request(raw, 1, "small")
    assert isinstance(request, Request)
    return request


def _line(text: str, **more: Any) -> dict[str, Any]:
    body = {"model": "small", "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": text[:8], "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_a_weight_counts_what_a_model_reads_and_nothing_else() -> None:
    """Roles, ids and a picture's base64 are no text; a picture is a picture however many bytes it has."""
    weight = weigh(
        _request(
            {
                "model": "small",
                "max_tokens": 50,
                "n": 2,
                "user": "not read",
                "messages": [
                    {"role": "system", "content": "abcd"},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "efghij"},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999}},
                        ],
                    },
                ],
            }
        )
    )
    assert weight == Weight(text_bytes=10, turns=2, media=1, choices=2, cap_tokens=50, answers=True)
    assert weigh(_request({"model": "m", "input": "hällo"}, "/v1/embeddings")) == Weight(6, 1, 0, 1, None, False)


def test_a_declared_cap_bounds_the_output() -> None:
    reading = Reading()
    assert reading.output_tokens(Weight(10, 1, 0, 3, 100, True)) == (96, 300, 300)
    assert reading.output_tokens(Weight(10, 1, 0, 1, 100, False)) == (0, 0, 0)


@pytest.mark.parametrize(("per_byte", "per_turn"), [(0.25, 0.0), (0.31, 7.0), (0.9, 3.0)])
def test_a_models_own_way_of_counting_is_learnt_from_its_answers(per_byte: float, per_turn: float) -> None:
    dice = random.Random(5)
    samples = []
    for _ in range(100):
        weight = Weight(dice.randint(20, 4000), dice.randint(1, 6), 0, 1, None, True)
        tokens = round((per_byte * weight.text_bytes + per_turn * weight.turns) * dice.uniform(0.95, 1.05))
        samples.append(Sample(weight, tokens, dice.randint(50, 150), 0.5))
    reading = fit(samples)
    assert reading is not None
    new = Weight(1500, 3, 0, 1, None, True)
    exact = per_byte * 1500 + per_turn * 3
    assert abs(reading.input_tokens(new) - exact) < 0.05 * exact
    assert 50 <= reading.output_low < reading.output_likely < reading.output_high <= 150
    assert fit(samples[:4]) is None


async def test_each_route_is_estimated_and_every_line_priced_at_its_own_step(store: Store) -> None:
    """4,000 bytes are likely 1,003 tokens: over the step of alpha, so twice as dear for that line alone."""
    lines = [_line("x" * 400, max_tokens=100), _line("y" * 4000, max_tokens=100)]
    found = await estimate(lines, WORLD.settings, store=store, when_s=NOW_S)
    first, second = found.document()["models"][0]["routes"]
    assert (first["route"], second["route"], found.requests) == ("alpha/small", "beta/large", {"small": 2})
    assert first["input_tokens"] == {"low": 830, "likely": 1106, "high": 1382}
    assert first["output_tokens"] == {"low": 64, "likely": 200, "high": 200}
    assert first["usd"]["likely"] == "0.002709"  # 103 × 1.00 + 1003 × 2.00 + 200 × 3.00
    assert second["usd"]["likely"] == "0.003412"
    assert first["unit_prices"] == {"input": "1", "output": "3"}
    assert found.document()["usd"]["likely"] == "0.002709"
    assert found.document()["complete"]


async def test_models_to_compare_with_and_models_nobody_knows(store: Store) -> None:
    lines = [_line("hello"), {**_line("hello"), "body": {"model": "zzz", "messages": []}}, {"nonsense": 1}]
    found = await estimate(lines, WORLD.settings, store=store, when_s=NOW_S, against=["alpha/unpriced", "alpha/small"])
    routes = {route["route"]: route for route in found.document()["models"][0]["routes"]}
    assert [(name, route["planned"]) for name, route in routes.items()] == [
        ("alpha/small", True),
        ("beta/large", True),
        ("alpha/unpriced", False),
    ]
    assert routes["alpha/unpriced"]["usd"] is None
    assert (found.lines, found.rejected) == (3, 1)
    assert "zzz" in found.faults
    assert not found.document()["complete"]
    with pytest.raises(ConfigError, match="No provider is known for the model 'yyy'"):
        await estimate(lines, WORLD.settings, store=store, when_s=NOW_S, against=["yyy"])


async def test_an_earlier_batch_teaches_its_route_and_no_other(store: Store) -> None:
    """The made batch counts 100 to 106 tokens for an empty prompt: absurd, and believed, because it was billed."""
    document = await write_batch(store, shards=(100,))
    answers = b'{"custom_id":"r-%d","body":{"model":"small","messages":[{"role":"user","content":"%b"}]}}\n'
    await store.put(input_object(document.id), b"".join(answers % (n, b"w" * 50) for n in range(1, 101)))
    manifest = await finish(store, document)
    await store.put(manifest_copy("2026-11-18", manifest.id), manifest.encode())
    found = await estimate([_line("v" * 50)] * 10, WORLD.settings, store=store, when_s=NOW_S)
    small, large = found.models["small"]
    assert small.learnt is not None
    assert small.learnt.batches == ("batch_1",)
    assert small.learnt.reading.samples == 78  # a hundred without the failed, the fallen back, the unmeasured
    assert 1000 <= small.input_tokens.likely <= 1060
    assert 100 < small.output_tokens.low < small.output_tokens.likely < small.output_tokens.high <= 200
    assert small.document()["latency_p50_s"] > 0
    assert large.learnt is not None  # every tenth line fell back to it
    unused = await estimate([_line("v" * 50)], WORLD.settings, store=store, when_s=NOW_S, against=["alpha/other"])
    assert unused.models["small"][2].learnt is None


async def test_a_batch_whose_files_were_taken_away_teaches_nothing_and_breaks_nothing(store: Store) -> None:
    document = await write_batch(store, shards=(30,))
    manifest = await finish(store, document)
    await store.put(manifest_copy("2026-11-18", manifest.id), manifest.encode())
    await store.delete(output_object(document.id))
    found = await estimate([_line("v" * 50)], WORLD.settings, store=store, when_s=NOW_S)
    learnt = found.models["small"][0].learnt
    assert learnt is not None
    assert learnt.reading == Reading()


async def test_lines_longer_than_the_context_are_counted() -> None:
    routes = [{"provider": "alpha", "model": "small", "context_tokens": 500}]
    world = World({"alpha/small": {"input": "1", "output": "1"}}, models={"small": {"routes": routes}})
    found = await estimate([_line("x" * 4000), _line("x")], world.settings, store=None, when_s=NOW_S)
    assert found.models["small"][0].too_long == 1
