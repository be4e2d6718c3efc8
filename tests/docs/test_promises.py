"""The pages on security and reliability promise nothing that no test holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"^\|.* test \|\n\|(?: --- \|)+\n((?:\|.*\n)+)", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)` \|$")
PAGES = {"security": 5, "reliability": 2}  #: page → its tables


@pytest.mark.parametrize("page", PAGES)
def test_each_row_names_a_test_that_is_there(page: str) -> None:
    tables = TABLE.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert len(tables) == PAGES[page]
    for row in "".join(tables).splitlines():
        named = NAMED.search(row)
        assert named is not None, row
        source = (ROOT / named[1]).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {named[2]}\(", source, re.MULTILINE), row
