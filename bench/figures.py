"""How figures are taken and told: interleaved rounds, min / median / max, what was asked and whether it was met.

Comes in: values of several rounds. Goes out: rows and tables in Markdown. Used by ``calls``, ``bulk`` and other benches;
measures nothing itself.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.stand import write_input

__all__ = ["Judged", "NotMeasured", "Stage", "interleaved", "judgement", "median", "spread", "table"]


class NotMeasured(Exception):
    """A step that cannot be measured here; the text is a sentence, the others go on without it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One figure against what is asked of it; the median counts."""

    what: str
    values: Sequence[float]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""
    digits: int = 2

    @property
    def is_met(self) -> bool:
        value = statistics.median(self.values)
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def row(self) -> tuple[str, str, str, str]:
        sign, bound = ("≤", self.at_most) if self.at_least is None else ("≥", self.at_least)
        asked = f"{sign} {bound:,g} {self.unit}".rstrip()
        return self.what, spread(self.values, self.digits), asked, "met" if self.is_met else "**not met**"


@dataclass(slots=True)
class Stage:
    """One run of the bench: where, how often, with whom; and what was found so far."""

    folder: Path
    rounds: int
    lines: int
    peers: dict[str, Path]  #: client → the Python that has it
    quick: bool
    million: bool
    judged: list[Judged] = field(default_factory=list)
    _places: int = 0

    def source(self, lines: int) -> Path:
        """An input of so many lines, written once."""
        return write_input(self.folder / f"input-{lines}.jsonl", lines)

    def place(self) -> Path:
        """A folder that nobody has used."""
        self._places += 1
        return self.folder / f"line-{self._places}"

    def judge(self, *figures: Judged) -> None:
        self.judged += figures


def spread(values: Sequence[float], digits: int = 3) -> str:
    """min / median / max."""
    return " / ".join(f"{one:,.{digits}f}" for one in (min(values), statistics.median(values), max(values)))


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]], *notes: str) -> list[str]:
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return [*lines, *(["", *notes] if notes else []), ""]


def judgement(judged: Iterable[Judged]) -> list[str]:
    """The one table of what was asked."""
    return table("What was asked", ("figure", "min / median / max", "asked", ""), (one.row() for one in judged))


def interleaved(rounds: int, steps: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Every step once a round, in turn forwards and backwards; one that cannot be measured is left out from then on."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(found)[:: 1 if number % 2 == 0 else -1]:
            try:
                found[name].append(steps[name]())
            except NotMeasured as error:
                print(f"  {name} is left out: {error}", file=sys.stderr, flush=True)
                del found[name]
            else:
                print(f"  {name}: {found[name][-1]:.4f}", file=sys.stderr, flush=True)
    return found
