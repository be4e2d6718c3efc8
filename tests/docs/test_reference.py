"""What is made of the code is what the code says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.reference import PAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_made_of_the_code_is_current(page: str) -> None:
    """A setting without a line in the reference does not exist for its users."""
    written = (ROOT / page).read_text(encoding="utf-8")
    assert written == PAGES[page](), f"{page} is behind the code; run `make reference`."
