"""The bill's commands: one JSON document on standard output, exit codes by what was found, sentences for people."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bucketline.layout import manifest_copy, output_object
from bucketline.store import open_store
from tests.unit.bill.batches_for_tests import finish, write_batch
from worker.cli import run

CONFIG = """
store = "{store}"

[providers.alpha]
base_url = "http://127.0.0.1:9/v1"

[models.small]
routes = [{{ provider = "alpha", model = "small" }}, {{ provider = "alpha", model = "stranger" }}]

[prices."alpha/small"]
input = "1.00"
output = "3.00"
batch = "0.5"
tiers = [{{ over_input_tokens = 1000, input = "2.00" }}]
"""


class Shell:
    """The command as a user runs it, in a folder with a configuration and one finished batch."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.store, self._capsys = folder, str(folder / "store"), capsys
        (folder / "bucketline.toml").write_text(CONFIG.format(store=self.store), encoding="utf-8")
        asyncio.run(self._batch())

    async def _batch(self) -> None:
        store = open_store(self.store)
        manifest = await finish(store, await write_batch(store, metadata={"team": "search"}))
        await store.put(manifest_copy(manifest.created_at[:10], manifest.id), manifest.encode())
        await store.close()

    def __call__(self, *arguments: str, code: int = 0) -> str:
        found = run(["--config", str(self.folder / "bucketline.toml"), *arguments])
        out, err = self._capsys.readouterr()
        assert found == code, err
        return out if code in (0, 1) else err

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self(*arguments, "--json", code=code))
        return document


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_verify_exits_with_0_when_everything_agrees_and_with_1_when_not(shell: Shell) -> None:
    assert shell.json("verify", "batch_1") == {
        "id": "batch_1",
        "ok": True,
        "parts": 3,
        "lines": 100,
        "findings": [],
        "more_findings": 0,
    }
    output = Path(shell.store) / output_object("batch_1")
    raw = output.read_bytes()
    output.write_bytes(raw.replace(b"answer 12", b"answer 13"))
    assert "output.jsonl: is not the file that the manifest lists" in shell("verify", "batch_1", code=1)
    assert "There is no batch batch_9" in shell("verify", "batch_9", code=2)


def test_prices_shows_every_step_and_tier_its_source_and_what_has_none(shell: Shell) -> None:
    document = shell.json("prices", "small")
    small, stranger = document["routes"]
    assert [(row["tier"], row["over_input_tokens"], row["unit_prices"]["input"]) for row in small["prices"]] == [
        ("standard", None, "1"),
        ("standard", 1000, "2"),
        ("batch", None, "0.5"),
        ("batch", 1000, "1"),
    ]
    assert small["prices"][0]["source"] == "configuration"
    assert (stranger["route"], stranger["priced"]) == ("alpha/stranger", False)
    assert (
        shell.json("prices", "openai/o3", "--on", "2025-06-01")["routes"][0]["prices"][0]["unit_prices"]["input"]
        == "10"
    )
    assert "--on is 'June'" in shell("prices", "small", "--on", "June", code=2)
    assert "add it under [prices]" in shell("prices", "small")


def test_estimate_prints_tokens_and_money_for_every_route(shell: Shell) -> None:
    line = {"custom_id": "a", "body": {"model": "small", "messages": [{"role": "user", "content": "x" * 400}]}}
    (shell.folder / "in.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    document = shell.json("estimate", str(shell.folder / "in.jsonl"))
    small, stranger = document["models"][0]["routes"]
    assert (small["route"], small["learned_from"]) == ("alpha/small", ["batch_1"])
    assert stranger["usd"] is None
    assert document["lines"] == 1
    table = shell("estimate", str(shell.folder / "in.jsonl"), "--against", "alpha/small")
    assert "alpha/stranger" in table
    assert "There is no file" in shell("estimate", str(shell.folder / "none.jsonl"), code=2)


def test_spend_sums_the_manifests(shell: Shell) -> None:
    document = shell.json("spend", "--by", "metadata.team, day")
    (row,) = document["rows"]
    assert (row["metadata.team"], row["day"], row["batches"]) == ("search", "2026-11-18", 1)
    assert row["usd"] == document["usd"]
    assert "alpha" in shell("spend")
    assert "Spend cannot be summed by 'colour'" in shell("spend", "--by", "colour", code=2)


def test_lines_writes_a_table(shell: Shell) -> None:
    shell("lines", "batch_1", "-o", str(shell.folder / "lines.parquet"))
    assert (shell.folder / "lines.parquet").read_bytes()[:4] == b"PAR1"
