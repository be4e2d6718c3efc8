"""How far the estimates of a lane are off, as a factor for the next ones.

Comes in: what calls were thought to use and what they used. Goes out: the factor that makes a sum of estimates about
right with a little to spare: the ratio of the sums plus the mean deviation around it. An estimate that is right for
each call gets 1; one of a high percentile gets less than 1 when many calls are in flight together, since they will not
all be long; one that is half of the truth gets more than 2. So what is in flight is neither counted short, which the
provider would refuse, nor counted long, which would leave the allowance unused. Pure. Called by ``permits``.
"""

from __future__ import annotations

__all__ = ["Trust"]

_ENOUGH = 16  #: settlements before anything is concluded
_MEMORY = 128  #: settlements after which the old ones count half
_LOWEST, _HIGHEST = 1 / 3, 4.0


class Trust:
    """Decaying sums over the settlements of one lane."""

    __slots__ = ("_actual", "_count", "_deviation", "_estimated", "factor")

    def __init__(self) -> None:
        self._estimated = self._actual = self._deviation = 0.0
        self._count = 0
        self.factor = 1.0

    def learn(self, estimated: int, actual: int) -> None:
        """Take one settled call; ``estimated`` is before any factor."""
        if estimated <= 0:
            return
        self._estimated += estimated
        self._actual += actual
        ratio = self._actual / self._estimated
        self._deviation += abs(actual - ratio * estimated)
        self._count += 1
        if self._count < _ENOUGH:
            return
        if self._count >= _MEMORY:
            self._count //= 2
            self._estimated /= 2
            self._actual /= 2
            self._deviation /= 2
        self.factor = min(_HIGHEST, max(_LOWEST, ratio + self._deviation / self._estimated))
