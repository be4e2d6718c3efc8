"""A reason why a batch waits, as a record, and the words that reasons are made of.

Comes in: figures. Goes out: sentences' parts, in one manner everywhere. Used by ``why`` and the monitor's panes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bucketline.batch import iso_time

__all__ = ["Cause", "CauseKind", "Place", "count", "scope_name", "sentence", "waiting"]

#: What a batch can wait for; the last two wait for nothing.
CauseKind = Literal[
    "paused", "cancelling", "finalizing", "validating",
    "no_workers", "silent_worker", "queue",
    "limit", "daily_limit", "concurrency", "order", "paused_by_provider",
    "circuit", "backoff",
    "budget", "places", "store", "equal",
    "in_flight",
    "running", "over",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason. ``lines`` is how many it holds, None where it is not about single lines; ``until_s`` is unix time."""

    kind: CauseKind
    sentence: str
    lines: int | None = None
    until_s: float | None = None
    rank: float = 0.0

    def document(self) -> dict[str, Any]:
        """The entry of ``why --json``."""
        until = None if self.until_s is None else iso_time(self.until_s)
        return {"kind": self.kind, "sentence": self.sentence, "lines": self.lines, "until": until}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch stands on the queue: its shards there, and the tickets before the first of them."""

    shards: int = 0
    ahead: int = 0


def scope_name(name: str) -> str:
    """A scope of the gate as people call it."""
    return f"model {name}" if "/" in name else f"account {name}"


def count(number: int, word: str) -> str:
    """A number of things: ``1 line``, ``2,000 lines``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def waiting(lines: int) -> str:
    """Lines and their verb: ``1 line waits``, ``2,000 lines wait``."""
    return f"{count(lines, 'line')} {'waits' if lines == 1 else 'wait'}"


def sentence(words: str) -> str:
    """Words that begin a sentence."""
    return words[:1].upper() + words[1:]
