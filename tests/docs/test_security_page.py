"""The page on security promises nothing that no test holds."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_each_cannot_names_a_test_that_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 15
    for path, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), (
            path,
            name,
        )


def test_each_row_of_a_cannot_has_its_test() -> None:
    tables = re.findall(r"\| cannot \| test \|\n\| --- \| --- \|\n((?:\|.*\n)+)", PAGE)
    assert len(tables) == 5
    for row in "".join(tables).splitlines():
        assert re.search(r"\| `tests/[\w/]+\.py::\w+` \|$", row), row
