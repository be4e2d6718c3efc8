"""The fenced blocks of the pages.

Comes in: a page's text. Goes out: its blocks with their language and place. A block may follow a comment that says how
it is tested, which readers of the rendered page never see: ``<!-- not run: why -->``, ``<!-- files: NAME -->`` for
one that is a file of the following blocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"(?:<!-- (?P<note>not run|file): (?P<words>.*?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str
    note: str | None
    words: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """Every block of every page."""
    found = []
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("deploy/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]:
        text = path.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("text"))
            page = str(path.relative_to(ROOT))
            found.append(Block(page, line, match["language"], match["text"], match["note"], match["words"]))
    return sorted(found, key=lambda block: (block.page, block.line))
