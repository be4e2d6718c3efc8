"""A file, a module or a target that a page names is there: a name that went stale sends its reader nowhere."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from bucketline.settings import WorkerSettings
from tests.docs.test_links import PAGES, ROOT

FOLDERS = ("bench", "bucketline", "deploy", "docs", "examples", "producer", "scripts", "tests", "worker")
SOURCES = (".py", ".lua", ".acl", ".conf", ".yaml", ".yml")
FILES = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
_WORD = re.compile(r"`([\w./-]+)(?:::\w+)?`")
_MODULE = re.compile(r"\bpython3? -m ((?:bench|bucketline|producer|scripts|tests|worker)[\w.]*)")
_DOTTED = re.compile(r"(?<![\w./\"'])(?:bucketline|producer|worker)(?:\.(?!toml\b)[a-z_]+)+\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [word for word in _WORD.findall(text) if not is_there(word, page.parent)] == []
    assert [name for name in _MODULE.findall(text) if not is_a_module(name)] == []
    assert [name for name in _DOTTED.findall(text) if not (is_a_module(name) or is_a_setting(name))] == []
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS


def is_there(word: str, beside: Path) -> bool:
    """Whether a word is no path of ours, or one that exists; a bare name may stand for any file that bears it."""
    if word.split("/", maxsplit=1)[0] in FOLDERS and "/" in word:
        return (ROOT / word).exists()
    return not word.endswith(SOURCES) or "*" in word or word in FILES or (beside / word).exists()


def is_a_module(name: str) -> bool:
    """A module, or what one holds."""
    top, _, last = name.rpartition(".")
    try:
        return find_spec(name) is not None or hasattr(__import__(top, fromlist=[last]), last)
    except ModuleNotFoundError:
        return False


def is_a_setting(name: str) -> bool:
    return name.removeprefix("worker.") in WorkerSettings.model_fields


def test_a_stale_name_would_be_seen() -> None:
    """Else the words of a page might not be found at all, and every page would pass."""
    assert not is_there("producer/nowhere.py", ROOT)
    assert not is_there("nowhere.lua", ROOT)
    assert is_there("keys.py", ROOT)
    assert is_a_module("worker.limiter")
    assert not is_a_module("worker.nowhere")
    assert _WORD.findall("see `docs/scaling.md` and `tests/x.py::test_y`") == ["docs/scaling.md", "tests/x.py"]


def test_every_target_is_phony_but_those_that_are_files() -> None:
    """A file that happens to bear a target's name would silence it."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    assert phony == TARGETS


def test_the_rooms_of_the_worker_are_where_the_page_says() -> None:
    """Sixty files in one folder want a plan; a few that are newer than it may be missing, none may be gone."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    plan = text.partition("## Where a file of `worker/` stands")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w/]+)`", plan)
    rooms = {path.stem for path in (ROOT / "worker").glob("[!_]*.py")}
    folders = {f"{path.parent.name}/" for path in (ROOT / "worker").glob("*/__init__.py")}
    assert set(named) - rooms - folders == set()
    assert len(named) == len(set(named))
    assert len(rooms & set(named)) >= 0.9 * len(rooms)
