"""A look is most of all the start of a process: a verb reads in what it needs, and no other verb's libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from worker.cli import VERBS, build_app

ROOT = Path(__file__).parents[3]
#: what nobody who looks at a batch in a folder has use for
HEAVY = {
    "aiohttp", "boto3", "botocore", "cryptography.x509", "genai_prices", "google.auth", "jsonschema", "prometheus_client",
    "structlog", "textual", "zstandard",
}  # fmt: skip


def imported_by(redis_url: str, folder: Path, *arguments: str) -> set[str]:
    """The modules of a process of its own after the command has run."""
    program = (
        "import sys, json, atexit; from worker.cli import main; "
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr)); main()"
    )
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder),
        "BUCKETLINE_REDIS_URL": redis_url, "BUCKETLINE_STORE": str(folder / "store"),
    }  # fmt: skip
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("circuits",)])
def test_a_look_loads_nothing_that_it_has_no_use_for(
    redis_url: str, work_folder: Path, arguments: tuple[str, ...]
) -> None:
    """Each of these costs a look more than all that it asks Redis."""
    loaded = imported_by(redis_url, work_folder, *arguments)
    assert loaded & HEAVY == set()
    verbs = {name for name in loaded if name.startswith(("producer.commands.", "worker.commands."))}
    assert verbs <= {VERBS[arguments[0]], "producer.commands.base"}


def test_json_needs_no_table(redis_url: str, work_folder: Path) -> None:
    assert "rich.table" not in imported_by(redis_url, work_folder, "status", "--json")


def test_help_lists_every_verb_with_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb is made when it is asked for; one that its file does not register would be missed only by its user."""
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(build_app(), ["--help"])
    assert shown.exit_code == 0
    commands = get_group(build_app()).commands
    assert list(commands) == list(VERBS)
    for verb, command in commands.items():
        (line,) = [line for line in shown.stdout.splitlines() if line.startswith(f"│ {verb} ")]
        sentence = command.get_short_help_str(60).rstrip(".")
        assert len(sentence) > 20
        assert sentence in line


def test_a_verb_that_is_nearly_one_is_guessed() -> None:
    """The names are known without reading the files in."""
    said = CliRunner().invoke(build_app(), ["stauts"])
    assert said.exit_code == 2
    assert "status" in said.output


def test_what_is_left_unread_is_there_when_somebody_asks(work_folder: Path) -> None:
    """redis-py's tokens of Entra ID, for one who does use them."""
    program = (
        "import sys; from worker.startup import start_at_once; start_at_once(); import redis.asyncio; "
        "assert 'jwt.api_jwt' not in sys.modules; from redis.auth.token import JWToken, jwt; "
        "token = jwt.encode({'exp': 5, 'iat': 1, 'oid': 'me'}, 'k' * 64); print(JWToken(token).get_expires_at_ms())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (ended.stdout.strip(), ended.stderr) == ("5000.0", "")
