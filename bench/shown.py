"""One figure beside what it must be, and a table of such.

Comes in: what a measurement found. Goes out: a row on standard output as soon as it is known, and whether it is met.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HEAD", "Shown"]

HEAD = f"{'what':<58}{'shown':>12}{'must be':>14}   "


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure as a share or in seconds, and its bound."""

    what: str
    figure: float
    bound: float
    unit: str = "%"  #: "%", "s" or "" for a count
    at_least: bool = True
    beside: str = ""  #: what else there is to know

    @property
    def met(self) -> bool:
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def __str__(self) -> str:
        must = f"{'≥' if self.at_least else '≤'} {self._spell(self.bound)}"
        word = "" if self.met else "MISSED"
        beside = f"  {self.beside}" if self.beside else ""
        return f"{self.what:<58}{self._spell(self.figure):>12}{must:>14}   {word}{beside}".rstrip()

    def _spell(self, figure: float) -> str:
        if self.unit == "%":
            return f"{figure:.2%}" if 0 < figure < 0.01 else f"{figure:.1%}"
        return f"{figure:.2f} s" if self.unit == "s" else f"{figure:,.0f}"
