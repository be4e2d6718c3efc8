"""The table at the end, and what it means for the exit code.

Comes in: results in the order played, and the list of cases known to lack something. Goes out: text for people, and
whether any case that counts has failed. A case counts unless ``standing.txt`` says what it lacks; so a case that
nobody has seen before counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.replay.asserts import Verdict

__all__ = ["Outcome", "Result", "failures_that_count", "read_standing", "show"]

STANDING = Path(__file__).with_name("standing.txt")


class Outcome(StrEnum):
    """What became of a case."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Result:
    """One case's end. ``trouble`` is what kept it from being played as written."""

    name: str
    outcome: Outcome
    seconds: float
    verdicts: tuple[Verdict, ...] = ()
    trouble: tuple[str, ...] = ()
    kept: str | None = field(default=None)

    @property
    def policies(self) -> list[str]:
        return [verdict.policy for verdict in self.verdicts if verdict.policy]

    def missed(self, level: str) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.ok and verdict.level == level]


def read_standing(path: Path = STANDING) -> dict[str, str]:
    """Case name → what it is known to lack; an empty string where it is expected to pass."""
    standing = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition("#")[0].strip().partition(" ")
        if name:
            standing[name] = "" if rest.strip() in ("", "passes") else rest.strip().removeprefix("lacks ")
    return standing


def failures_that_count(results: Sequence[Result], standing: Mapping[str, str]) -> list[Result]:
    """The failed cases of which that was not known."""
    return [result for result in results if result.outcome is Outcome.FAIL and not standing.get(result.name)]


def show(results: Sequence[Result], standing: Mapping[str, str], console: Console) -> None:
    """Print the table and one sentence."""
    table = Table(show_lines=True, highlight=False)
    for heading, share in (("case", 3), ("result", 2), ("musts failed, with what was seen", 9), ("shoulds missed", 4)):
        table.add_column(heading, ratio=share, overflow="fold")
    table.add_column("seconds", justify="right", no_wrap=True)
    for result in sorted(results, key=lambda each: each.name):
        table.add_row(*map(Text, _cells(result, standing.get(result.name, ""))))
    console.print(table)
    console.print(Text(_summary(results, standing)))


def _cells(result: Result, lacks: str) -> tuple[str, str, str, str, str]:
    outcome = result.outcome.value
    if lacks:
        outcome += f" (known to lack {lacks})" if result.outcome is Outcome.FAIL else " (was thought to lack something)"
    outcome += "".join(f"\n“{policy}”" for policy in result.policies)
    musts = [*result.trouble, *(f"{each.id}: {each.seen}" for each in result.missed("must"))]
    if result.kept:
        musts.append(f"kept in {result.kept}")
    shoulds = [f"{each.id}: {each.seen}" for each in result.missed("should")]
    return result.name, outcome, "\n".join(musts), "\n".join(shoulds), f"{result.seconds:.1f}"


def _summary(results: Sequence[Result], standing: Mapping[str, str]) -> str:
    count = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    counting = failures_that_count(results, standing)
    parts = [f"{number} {outcome.value}" for outcome, number in count.items() if number]
    excused = count[Outcome.FAIL] - len(counting)
    return ", ".join(parts) + (f" ({excused} of them known)" if excused else "") + "."
