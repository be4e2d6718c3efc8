"""The command as a person and a program meet it: exit codes, one JSON document, one sentence on an error."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bucketline.batch import State
from bucketline.connect import connect_redis
from bucketline.ledger import Ledger
from tests.unit.producer.lines_for_tests import chat_line
from worker.cli import run

CONFIG = """
[providers.alpha]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "ALPHA_API_KEY"
[models.small]
routes = [{ provider = "alpha", model = "small" }]
"""
OUTPUT, ERRORS = b'{"custom_id": 1}\n', b'{"custom_id": 2}\n'


@pytest.fixture
def place(redis_url: str, work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, an input of two lines, and everything reachable."""
    (work_folder / "bucketline.toml").write_text(CONFIG)
    (work_folder / "in.jsonl").write_bytes(chat_line(1) + b"\n" + chat_line(2) + b"\n")
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    monkeypatch.setenv("BUCKETLINE_STORE", str(work_folder / "store"))
    monkeypatch.setenv("ALPHA_API_KEY", "a-secret-value")
    return work_folder


def submitted(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["submit", "in.jsonl", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["id"]


def end(place: Path, batch_id: str, redis_url: str, *, failed: int) -> None:
    """Finish a batch as the line of workers would."""
    folder = place / "store" / "batches" / batch_id
    (folder / "output.jsonl").write_bytes(OUTPUT)
    (folder / "errors.jsonl").write_bytes(ERRORS)
    manifest = {
        "id": batch_id, "source": "in.jsonl", "status": "completed",
        "created_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:09Z",
        "counts": {"total": 2, "completed": 2 - failed, "failed": failed, "cancelled": 0, "attempts": 2},
        "files": {
            "output.jsonl": {"sha256": hashlib.sha256(OUTPUT).hexdigest()},
            "errors.jsonl": {"sha256": hashlib.sha256(ERRORS).hexdigest()},
        },
        "usage": {"input_tokens": 7, "output_tokens": 3}, "cost": {"usd": "0.25", "complete": False},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))

    async def forget() -> None:
        redis = await connect_redis(redis_url)
        ledger = Ledger(redis)
        await ledger.move(batch_id, State.FINALIZING)
        await ledger.finish(batch_id, State.COMPLETED, 1.0)
        await ledger.forget(batch_id)
        await redis.aclose()

    asyncio.run(forget())


def test_the_life_of_a_batch_in_exit_codes(place, redis_url, capsys):
    """Scripts branch on them: 3 while it runs, 0 when all is answered, 1 when some lines failed."""
    batch_id = submitted(capsys)
    assert run(["status", batch_id, "--json"]) == 3
    (entry,) = json.loads(capsys.readouterr().out)["batches"]
    assert (entry["id"], entry["source"], entry["status"], entry["percent"]) == (
        batch_id,
        "in.jsonl",
        "in_progress",
        0.0,
    )
    assert run(["results", batch_id, "-o", "out"]) == 3
    assert run(["wait", batch_id, "--timeout", "0"]) == 3
    assert f"bucketline wait {batch_id}" in capsys.readouterr().err
    assert not (place / "out" / "manifest.json").exists()

    end(place, batch_id, redis_url, failed=0)
    assert run(["status", batch_id]) == 0
    assert run(["wait", batch_id]) == 0
    capsys.readouterr()
    assert run(["results", batch_id, "-o", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "completed"
    assert (place / "out" / "output.jsonl").read_bytes() == OUTPUT
    assert (place / "out" / "errors.jsonl").read_bytes() == ERRORS

    end_with_failure = submitted(capsys)
    end(place, end_with_failure, redis_url, failed=1)
    assert run(["status", end_with_failure, "--json"]) == 1
    (entry,) = json.loads(capsys.readouterr().out)["batches"]
    assert (entry["cost_usd"], entry["cost_complete"], entry["tokens"], entry["percent"]) == ("0.25", False, 10, 100.0)
    assert entry["finished_at"] == "2026-01-01T00:00:09.000Z"


def test_results_that_are_not_what_the_manifest_says_are_refused(place, redis_url, capsys):
    """Silent damage on the way is the worst kind: the bill and the answers would not belong together."""
    batch_id = submitted(capsys)
    end(place, batch_id, redis_url, failed=0)
    (place / "store" / "batches" / batch_id / "output.jsonl").write_bytes(OUTPUT.replace(b"1", b"9"))
    assert run(["results", batch_id, "-o", "out"]) == 2
    assert "not the file that the manifest describes" in capsys.readouterr().err
    assert not (place / "out" / "output.jsonl").exists()
    assert not (place / "out" / "manifest.json").exists()


def test_cancel_pause_and_resume(place, redis_url, capsys):
    batch_id = submitted(capsys)
    assert run(["pause", batch_id]) == 0
    capsys.readouterr()
    run(["status", batch_id, "--json"])
    assert json.loads(capsys.readouterr().out)["batches"][0]["paused"] is True
    assert run(["resume", batch_id]) == 0
    capsys.readouterr()
    assert run(["cancel", batch_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": batch_id, "status": "cancelling"}
    end(place, batch_id, redis_url, failed=0)
    assert run(["pause", batch_id]) == 2
    assert "nothing left to pause" in capsys.readouterr().err


def test_status_without_an_id_lists_the_newest_also_when_redis_was_emptied(place, redis_url, capsys):
    one, two = submitted(capsys), submitted(capsys)
    assert run(["status", "--json"]) == 0
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)["batches"]] == [two, one]
    assert run(["status"]) == 0
    table = capsys.readouterr().out
    assert one in table
    assert two in table
    for batch_id in (one, two):
        end(place, batch_id, redis_url, failed=0)
    assert run(["status", "--json"]) == 0
    assert {entry["id"] for entry in json.loads(capsys.readouterr().out)["batches"]} == {one, two}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["submit", "nowhere.jsonl"], 2, "There is no file nowhere.jsonl."),
        (["submit", "."], 2, "is a folder"),
        (["submit", "in.jsonl", "--window", "soon"], 2, "24h"),
        (["submit", "in.jsonl", "--metadata", "x"], 2, "KEY=VALUE"),
        (["submit", "in.jsonl", "--max-cost", "1"], 2, "--unpriced allow"),
        (["submit", "in.jsonl", "--priority", "99"], 2, "priority"),
        (["--config", "none.toml", "status"], 2, "There is no configuration file none.toml."),
        (["status", "--config", "none.toml"], 2, "There is no configuration file none.toml."),
        (["status", "batch_none"], 2, "There is no batch batch_none"),
        (["cancel", "batch_none"], 2, "There is no batch batch_none"),
        (["results", "batch_none", "-o", "x"], 2, "There is no batch batch_none"),
        (["fly"], 2, "fly"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(arguments, code, said, place, capsys):
    """No traceback reaches a person, and standard output stays empty for the program that reads it."""
    assert run(arguments) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_services_out_of_reach_exit_with_four(place, monkeypatch, capsys):
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    assert run(["submit", "in.jsonl"]) == 4
    said = capsys.readouterr().err
    assert "127.0.0.1:1" in said
    assert "secret" not in said


def test_a_bucket_that_is_not_there_exits_with_four(place, s3_environment, monkeypatch, capsys):
    monkeypatch.setenv("BUCKETLINE_STORE", "s3://no-such-bucket-anywhere")
    assert run(["submit", "in.jsonl"]) == 4
    assert "no-such-bucket-anywhere" in capsys.readouterr().err


def test_a_fault_of_ours_says_how_to_see_more(place, monkeypatch, capsys):
    def broken(*_args: object) -> None:
        raise RuntimeError("a prompt that must not be shown")

    monkeypatch.setattr("producer.client.load_settings", broken)
    assert run(["status"]) == 70
    said = capsys.readouterr().err
    assert "BUCKETLINE_DEBUG=1" in said
    assert "prompt" not in said


def test_control_c_ends_with_130(place, monkeypatch, capsys):
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.client.load_settings", interrupted)
    assert run(["status"]) == 130


def test_bad_lines_are_counted_for_people_and_strict_lists_them(place, capsys):
    (place / "in.jsonl").write_bytes(chat_line(1) + b"\n[1]\n")
    assert run(["submit", "in.jsonl"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["rejected"] == 1
    assert "1 of 2 lines cannot be sent" in shown.err
    assert run(["submit", "in.jsonl", "--strict"]) == 2
    assert f"line 2 (byte {len(chat_line(1)) + 1}): " in capsys.readouterr().err


def test_standard_input_is_a_source(place):
    command = [sys.executable, "-m", "worker.cli", "submit", "-"]
    ended = subprocess.run(command, input=chat_line(1), check=True, capture_output=True, env=os.environ)
    assert json.loads(ended.stdout)["lines"] == 1


def test_doctor_says_what_is_there_and_shows_no_key(place, monkeypatch, capsys):
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.setenv("GOOGLE_API_KEY", "another-secret-value")
    assert run(["doctor", "--json"]) == 0
    out = capsys.readouterr().out
    found = {one["subject"]: one for one in json.loads(out)["findings"]}
    assert found["store"]["health"] == "ok"
    assert found["redis"]["health"] == "ok"
    assert "persistence" in " ".join(found)
    assert "ALPHA_API_KEY is set" in found["provider alpha"]["sentence"]
    assert "GOOGLE_API_KEY is set" in found["provider google"]["sentence"]
    assert "secret-value" not in out
    assert str(Path(__file__).parents[3] / "producer") in found["producer"]["sentence"]


def test_doctor_recovers_what_redis_forgot(place, redis_url, capsys):
    batch_id = submitted(capsys)
    from redis import Redis

    with Redis.from_url(redis_url) as redis:
        redis.flushall()
        assert run(["doctor", "--recover", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["recovered"] == [batch_id]
        assert redis.zcard("bl:queue") > 0
    assert run(["doctor", "--recover", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recovered"] == []


def test_the_command_starts_without_what_it_does_not_need(place):
    """--help and completion must feel instant; these imports are most of a second."""
    program = (
        "import sys; from worker.cli import run; code = run(['--help']); "
        "heavy = {'boto3','botocore','arq','redis','genai_prices','aiohttp','pydantic','openai','zstandard'} & set(sys.modules); "
        "print(code, sorted(heavy), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stderr.strip() == "0 []"
    assert "submit" in ended.stdout
