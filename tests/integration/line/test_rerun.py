"""Truncated and failed lines once more, and both batches as one result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bucketline.errors import InputError, UsageError
from producer.client import Producer
from tests.chaos.fleet import a_fleet
from tests.integration.line.scripted import answer, error, providers
from worker.simulator import ModelConfig, ProviderConfig, SimulatorConfig


def lines(count: int) -> list[dict[str, Any]]:
    return [
        {"custom_id": f"r-{n}", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [{"role": "user", "content": f"l{n}"}], "max_tokens": 10}}
        for n in range(count)
    ]  # fmt: skip


def _nobody() -> SimulatorConfig:
    return SimulatorConfig({"a": ProviderConfig(models={"*": ModelConfig()}, keys={"main": "k"})}, seed=1)


def rows_in(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def text_of(row: dict[str, Any]) -> str:
    return str(row["response"]["body"]["choices"][0]["message"]["content"])


@pytest.mark.slow
async def test_a_rerun_mends_what_was_cut_or_failed_and_merges_into_one_result(tmp_path: Path) -> None:
    """Line 2 is cut, 4 refused, 6 cut for good; the rerun mends 2 and 4; 6 keeps the answer that was paid for."""

    async def provider(body: dict[str, Any]) -> Any:
        number = int(body["messages"][0]["content"][1:])
        again = body["max_tokens"] == 8000
        if number == 2 and not again:
            return await answer("cut", finish="length")(body)
        if number == 4 and not again:
            return await error(400, "invalid_request_error")(body)
        if number == 6:
            refuse = error(400, "invalid_request_error")
            return await (refuse if again else answer("kept", finish="length"))(body)
        return await answer("mended" if again else "first")(body)

    settings = {
        "providers": {"a": {}},
        "models": {"m": {"routes": [{"provider": "a", "model": "m"}]}},
        "prices": {"a/m": {"input": "1.00", "output": "1.00"}},
    }
    async with providers("a") as scripted, a_fleet(tmp_path, _nobody(), settings) as fleet:
        scripted["a"].replies = [provider]
        given = fleet.settings.providers["a"].model_copy(update={"base_url": scripted["a"].url})
        for engine in fleet.engines:
            engine.catalog._settings.providers["a"] = given
            engine.catalog._providers.clear()
        async with Producer(settings=fleet.settings) as producer:
            first = await producer.submit(lines(8))
            await fleet.finished(first.id)
            second = await producer.rerun(first.id, set_={"max_tokens": 8000})
            assert second.lines == 3
            await fleet.finished(second.id)
            merged = await producer.results(second.id, tmp_path / "out", merged=True)
            with pytest.raises(InputError, match="nothing to run again"):
                await producer.rerun(second.id, only="timeout")
            with pytest.raises(UsageError, match="no rerun"):
                await producer.results(first.id, tmp_path / "none", merged=True)
            manifest = await producer.results(second.id, tmp_path / "own")

    answered = rows_in(tmp_path / "out", "output.jsonl")
    assert [(row["custom_id"], row["bucketline"]["line"]) for row in answered] == [(f"r-{n}", n + 1) for n in range(8)]
    assert [text_of(row) for row in answered] == [
        "first",
        "first",
        "mended",
        "first",
        "mended",
        "first",
        "kept",
        "first",
    ]
    assert [row["bucketline"].get("rerun") for row in answered][2:5] == [second.id, None, second.id]
    assert rows_in(tmp_path / "out", "errors.jsonl") == []
    assert merged["counts"] == {"total": 8, "completed": 8, "failed": 0}
    assert merged["batches"] == [first.id, second.id]
    assert merged["cost"]["usd"] == "0.00099", "nine calls were answered, seven at first and two again"
    assert manifest["rerun_of"] == first.id


@pytest.mark.slow
async def test_a_line_that_was_refused_at_submit_is_said_to_be_mended_in_its_file(tmp_path: Path) -> None:
    """``status`` counts it as failed, and no route can answer it."""
    settings = {"providers": {"a": {}}, "models": {"m": {"routes": [{"provider": "a", "model": "m"}]}}}
    async with a_fleet(tmp_path, _nobody(), settings) as fleet, Producer(settings=fleet.settings) as producer:
        batch = await producer.submit([*lines(1), {"custom_id": "odd"}])
        await fleet.finished(batch.id)
        with pytest.raises(InputError, match=r"Lines refused at submit \(1\) are mended in their file"):
            await producer.rerun(batch.id, only="failed")
