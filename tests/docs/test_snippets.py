"""Every command and every snippet of the pages does what the page says, as it stands there."""

from __future__ import annotations

import ast
import json
import re
import shutil
import tomllib
from collections.abc import Iterator

import pytest

from bucketline.catalog import Catalog
from bucketline.request import Request, read_request
from bucketline.settings import Settings
from tests.docs.snippets import ROOT, Block, blocks
from tests.docs.world import World, a_world

BLOCKS = blocks()
SHELL = [block for block in BLOCKS if block.language == "sh" and block.note is None]
#: what a page may ask of ``make``; they are the project's own tests, not run inside one
MAKE = re.compile(r"(?m)^make (\S+)")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
QUESTIONS = "\n".join(
    block.text.rstrip("\n") for block in BLOCKS if block.language == "jsonl" and block.page == "README.md"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, redis_server: object, s3_server: str) -> Iterator[World]:
    import boto3
    from redis import Redis

    with Redis.from_url(redis_server.url) as client:  # type: ignore[attr-defined]
        client.flushall()  # other tests' workers, limits and batches are not this place's
    s3 = {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3_server,
    }  # fmt: skip
    client = boto3.client(
        "s3",
        endpoint_url=s3_server,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="my-bucket")
    client.close()
    folder = tmp_path_factory.mktemp("world")
    (folder / "questions.jsonl").write_text(QUESTIONS + "\n")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with a_world(folder, redis_server.url, s3, "my-bucket") as place:  # type: ignore[attr-defined]
        yield place


def test_there_are_snippets() -> None:
    """Were the pages' fences not found, every test below would pass."""
    assert len(SHELL) > 5
    assert QUESTIONS.count("\n") >= 3


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in SHELL if not MAKE.search(block.text)], ids=str)
def test_the_commands_of_a_page_run(world: World, block: Block) -> None:
    script = re.sub(r"(?m)^export (OPENAI|ANTHROPIC)_API_KEY=.*$", "", block.text)
    script = script.replace("cp examples/simulated.toml bucketline.toml", "true").replace("--port 9100", "--port 0")
    for folder in ("answers", "gsm8k-run", "extract-run", "embed-run"):
        shutil.rmtree(world.folder / folder, ignore_errors=True)
    done = world.shell(script)
    assert done.returncode == 0, (done.stdout, done.stderr, world.told())


@pytest.mark.parametrize("block", [block for block in SHELL if MAKE.search(block.text)], ids=str)
def test_what_a_page_asks_of_make_is_there(block: Block) -> None:
    commands = [line.split("#")[0].split() for line in block.text.splitlines() if line.strip()]
    assert {command[0] for command in commands} <= {"make", "git", "cd"}
    assert {word for command in commands if command[0] == "make" for word in command[1:]} <= TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_the_python_of_a_page_runs(world: World, block: Block) -> None:
    script = world.folder / "snippet.py"
    main = any(isinstance(node, ast.AsyncFunctionDef) and node.name == "main" for node in ast.parse(block.text).body)
    script.write_text(block.text + ("\nimport asyncio\nasyncio.run(main())\n" if main else ""))
    done = world.shell("python snippet.py")
    assert done.returncode == 0, (done.stderr, world.told())
    assert done.stdout.count("\n") == QUESTIONS.count("\n") + 1 or not main


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=str)
def test_the_toml_of_a_page_is_a_configuration(block: Block) -> None:
    settings = Settings.model_validate(tomllib.loads(block.text))
    catalog = Catalog(settings)
    for model in settings.models:
        assert catalog.plan(model).routes


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "jsonl"], ids=str)
def test_the_lines_of_a_page_can_be_sent(block: Block) -> None:
    for number, raw in enumerate(block.text.encode().splitlines(), 1):
        assert isinstance(read_request(raw, number, None), Request), raw


def test_the_json_of_the_pages_is_json() -> None:
    for block in BLOCKS:
        if block.language == "json":
            json.loads(block.text)


def test_no_snippet_has_a_language_that_nothing_here_tests() -> None:
    known = {"sh", "python", "toml", "jsonl", "json", "text", "sql", ""}
    assert {block.language for block in BLOCKS} <= known


COMMANDS = re.compile(r"`bucketline ([a-z][a-z-]+)")


def test_every_verb_that_a_page_names_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A page must not promise a command that is not there."""
    import typer.main

    from worker.cli import build_app

    verbs = set(typer.main.get_command(build_app()).commands)  # type: ignore[attr-defined]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")]
    named = {verb for page in pages for verb in COMMANDS.findall(page.read_text(encoding="utf-8"))}
    assert named - verbs == set()
    procfile = re.findall(r"bucketline ([a-z-]+)", (ROOT / "Procfile").read_text())
    assert set(procfile) - verbs == set()


def test_the_command_tells_its_version(capfd: pytest.CaptureFixture[str]) -> None:
    """The first thing that a report of a fault is asked for."""
    from importlib.metadata import version

    from worker.cli import run

    assert run(["--version"]) == 0
    assert capfd.readouterr().out.strip() == version("bucketline")
