"""What is seen of a product, before it is an item of the asserts: small readings of batches, bodies and files.

Comes in: bytes and parsed JSON in the shapes that every product of this kind has (the providers' bodies, JSON lines).
Goes out: plain values. Called by ``adapter`` and ``steps``; knows no product's names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from tests.replay.replies import tag_of

__all__ = ["FINAL", "Batch", "Shown", "answer_text", "decimal_sum", "file_item", "line_tag", "strict_json"]

#: states after which a batch no longer changes
FINAL = frozenset({"completed", "completed_with_errors", "failed", "rejected", "cancelled"})


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the status command shows it; ``figures`` are total, ok and failed, ``said`` all words about it."""

    id: str
    key: str
    state: str
    created_s: float
    figures: dict[str, int]
    percent: float | None
    said: str

    @property
    def final(self) -> bool:
        return self.state in FINAL


@dataclass(slots=True)
class Shown:
    """All that the product shows at the end of a case."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    manifest: list[dict[str, Any]] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)


def strict_json(data: bytes, *, lenient: bool = False) -> Any:
    """The parsed document, or None when it is not JSON by the letter; ``lenient`` lets NaN and bad UTF-8 pass."""
    try:
        if lenient:
            return json.loads(data.decode("utf-8", "replace"))
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except ValueError:
        return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def file_item(key: str, role: str, data: bytes) -> dict[str, Any]:
    """One output object, with its unreadable lines under both ways of splitting; the manifest is one document."""
    if role == "manifest":
        bad = 0 if isinstance(strict_json(data), dict) else 1
        return {"key": key, "role": role, "bad_json_lines_lf": bad, "bad_json_lines_universal": bad}
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    universal = data.decode("utf-8", "replace").splitlines()
    return {
        "key": key,
        "role": role,
        "bad_json_lines_lf": sum(strict_json(line) is None for line in lines),
        "bad_json_lines_universal": sum(strict_json(line.encode()) is None for line in universal),
    }


def decimal_sum(amounts: Iterable[str | None]) -> str:
    """The exact sum of decimal strings; unknown amounts are left out."""
    return str(sum((Decimal(amount) for amount in amounts if amount is not None), Decimal(0)))


def line_tag(lines: Sequence[bytes], line: int | None) -> str | None:
    """The tag that stands in the input's line, counted from 1."""
    if line is None or not 1 <= line <= len(lines):
        return None
    return tag_of(lines[line - 1].decode("utf-8", "replace"))


def answer_text(body: Any) -> str | None:
    """The text of a provider's answer, whatever its form; None where it has none."""
    if not isinstance(body, dict):
        return None
    if isinstance(body.get("choices"), list) and body["choices"]:
        choice = body["choices"][0]
        said = choice.get("text", (choice.get("message") or {}).get("content"))
        return said if isinstance(said, str) else None
    parts = list(body["content"]) if isinstance(body.get("content"), list) else []
    for entry in body.get("output") or ():
        parts += entry.get("content") or []
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "".join(texts) if texts else None
