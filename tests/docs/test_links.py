"""Every link of a page to another file of the project leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("examples/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_to_a_file_finds_it(page: Path) -> None:
    targets = {target for target, _ in _LINK.findall(page.read_text(encoding="utf-8"))}
    lost = {target for target in targets if "://" not in target and not (page.parent / target).exists()}
    assert not lost


def test_the_readme_stays_short() -> None:
    """It is read before anything else is tried: one page, and links."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
