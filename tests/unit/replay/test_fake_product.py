"""The runner as a whole, with a product that is right and with products that are each wrong in one way.

A replay that cannot fail is worth nothing, so each wrong product must fail, and on the assert that names its fault.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.replay.case import load_case
from tests.replay.play import House, play_all, play_case
from tests.replay.report import Outcome

_FAKE = Path(__file__).with_name("fake_product.py")

_SCENARIO = {
    "config": {
        "providers": {"alpha": {"api": "openai", "key": "key-of-alpha", "limits": {"rpm": 6000, "concurrency": 4}}},
        "models": {"alpha-small": {"provider": "alpha", "prices_per_mtok": {"input": "1.00", "output": "3.00"}}},
        "retry": {"max_attempts": 3, "base_delay_s": 0.01, "max_delay_s": 0.1},
        "request_timeout_s": 5,
        "worker": {"processes": 1, "job_timeout_s": 60},
    },
    "replies": {
        "alpha-small": {
            "require": [{"header": "authorization", "equals": "Bearer key-of-alpha", "else": {"status": 401}}],
            "tags": {
                "d3": [{"status": 503, "json": {"error": {"message": "busy"}}}, {"ok": {}}],
                "d6": [{"status": 400, "json": {"error": {"message": "no"}}}],
            },
            "else": [{"ok": {}}],
        }
    },
    "steps": [
        {"put": {"file": "input.jsonl", "key": "in/input.jsonl"}},
        {"put": {"text": "not for you", "key": "in/notes.txt"}},
        {"start_workers": 1},
        {"cli_poll": "status", "key": "in/input.jsonl", "every_s": 0.2, "until": "terminal"},
        {"wait": {"calls_done": 3}},
        {"wait": "terminal"},
        {"cli": "status", "key": "in/input.jsonl"},
    ],
    "max_s": 30,
}


def _must(name: str, of: str, op: str, value: object, **more: object) -> dict[str, object]:
    return {"id": name, "level": "must", "of": of, "op": op, "value": value, **more}


_ASSERTS = [
    _must("every line is there", "rows", "eq", 6, agg="count"),
    _must("no line is there twice", "rows", "eq", True, agg="unique", get="custom_id"),
    _must("each answer is its own", "rows", "contains_own_tag", True, get="text", where={"ok": True}),
    _must("each call is made once", "calls", "eq", 7, agg="count"),
    _must("each line costs its price", "rows", "dec_eq", "0.000025", get="cost_usd", where={"ok": True}),
    _must("the bill is the sum", "manifest", "dec_eq", "0.000125", get="cost_usd"),
    _must("the retry is counted", "manifest", "eq", 1, get="retries"),
    _must("the refusal is reported", "rows", "eq", "provider_4xx", get="error_class", where={"custom_id": "r6"}),
    _must("the state says so", "batches", "eq", "completed_with_errors", get="state"),
    _must("the end is at 100", "cli", "eq", 100, agg="last", get="percent"),
    _must("progress never falls", "cli", "eq", True, agg="nondecreasing", get="percent"),
    _must("the worker lives", "workers", "eq", False, get="crashed"),
    _must("each record is JSON", "files", "eq", 0, get="bad_json_lines_lf"),
    _must("three files", "files", "eq_set", ["results", "errors", "manifest"], agg="set", get="role"),
    _must("completed only with files", "time", "eq", 0, get="completed_seen_before_results_s"),
]


@pytest.fixture
def case_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "90-six-rows"
    folder.mkdir()
    (folder / "case.json").write_text(json.dumps({"id": "90", "slug": "six-rows", "needs": ["custom_prices"]}))
    (folder / "scenario.json").write_text(json.dumps(_SCENARIO))
    (folder / "expected.json").write_text(json.dumps({"asserts": _ASSERTS}))
    lines = [
        {
            "custom_id": f"r{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "alpha-small", "messages": [{"role": "user", "content": f"tag:d{n} say something"}]},
        }
        for n in range(1, 7)
    ]
    (folder / "input.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _house(address: str, wrong: str | None = None) -> House:
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(max_pool_connections=20),
    )
    return House(address, client, [sys.executable, str(_FAKE), *(["--wrong", wrong] if wrong else [])])


async def test_a_product_that_is_right_passes(case_folder: Path, s3_server: str) -> None:
    """Otherwise the runner would teach us to distrust it."""
    result = await play_case(load_case(case_folder), _house(s3_server))
    assert result.trouble == ()
    assert [verdict for verdict in result.verdicts if not verdict.ok] == []
    assert result.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("wrong", "faults"),
    [
        ("dropped", {"every line is there"}),
        ("doubled", {"every line is there", "no line is there twice"}),
        ("crossed", {"each answer is its own"}),
        ("billed_twice", {"the bill is the sum"}),
        ("called_twice", {"each call is made once"}),
    ],
)
async def test_a_product_that_is_wrong_fails_where_it_is_wrong(
    case_folder: Path, s3_server: str, wrong: str, faults: set[str]
) -> None:
    """The assert that fails must be the one that names the fault, and no other."""
    result = await play_case(load_case(case_folder), _house(s3_server, wrong))
    assert {verdict.id for verdict in result.missed("must")} == faults
    assert result.outcome is Outcome.FAIL


async def test_a_worker_that_never_starts_fails_the_case_with_its_words(case_folder: Path, s3_server: str) -> None:
    """The reason belongs in the table; nobody should have to play the case again to see it."""
    house = _house(s3_server)
    broken = House(house.s3_address, house.s3, [sys.executable, "-c", "raise SystemExit('no such luck')"])
    result = await play_case(load_case(case_folder), broken)
    assert result.outcome is Outcome.FAIL
    assert "every worker has ended" in result.trouble[0]
    assert "no such luck" in result.trouble[0]


async def test_a_case_that_takes_too_long_fails(case_folder: Path, s3_server: str) -> None:
    """A product that hangs must not hang the replay."""
    (case_folder / "scenario.json").write_text(json.dumps({**_SCENARIO, "max_s": 0.3}))
    house = _house(s3_server)
    idle = House(house.s3_address, house.s3, [sys.executable, "-c", "import time; time.sleep(60)"])
    result = await play_case(load_case(case_folder), idle)
    assert result.outcome is Outcome.FAIL
    assert result.trouble == ("not over after 0.3 s",)


async def test_waiting_for_calls_that_will_not_come_ends_with_the_batch(case_folder: Path, s3_server: str) -> None:
    """A product that gives up early must not cost the case's whole time, and the table says how far it came."""
    steps = [{"put": {"file": "input.jsonl", "key": "in/input.jsonl"}}, {"start_workers": 1}]
    steps.append({"wait": {"calls_done": 9}})
    (case_folder / "scenario.json").write_text(json.dumps({**_SCENARIO, "steps": steps}))
    result = await play_case(load_case(case_folder), _house(s3_server))
    assert result.trouble == ("everything is over after 5 answers; 9 were waited for",)


async def test_a_case_that_needs_what_we_lack_is_not_applicable(case_folder: Path, s3_server: str) -> None:
    """Neither passed nor failed: it says nothing about the product."""
    (case_folder / "case.json").write_text(json.dumps({"id": "90", "slug": "six-rows", "needs": ["telepathy"]}))
    [result] = await play_all([load_case(case_folder)], _house(s3_server), 1)
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert "telepathy" in result.trouble[0]
