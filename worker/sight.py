"""What one process sees of its own work: sums of its calls, and who waits for what.

Comes in: each ended call, the beginning and end of each wait, each ended line, leases. Goes out: sums that ``metrics`` shows to
Prometheus, and the census that ``sign`` publishes for ``top`` and ``why``. A note is a few additions to dictionaries, since it
is made for every line on its way; nothing here knows Redis, and no sum is by batch but those that live only while the
batch is open. Called by ``dispatch``, ``attempt``, ``lines`` and ``lease``.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from types import TracebackType

from bucketline.failure import Billed
from bucketline.outcome import Attempt
from bucketline.sign import Reason, Trouble, Wait

__all__ = ["CALL_S", "WAIT_S", "Histogram", "Sight"]

#: upper bounds in seconds: calls from a cached answer to an hour of reasoning; waits from none to a day
CALL_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1800.0, 3600.0)
WAIT_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
_RECENT_S = 60.0
_MOST_RECENT = 20_000


class Histogram:
    """Counts by upper bound, and the sum; what Prometheus calls a classic histogram."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class _Waiting:
    """One line's wait; counted while it lasts, and measured when it ends."""

    __slots__ = ("_began_s", "_key", "_sight")

    def __init__(self, sight: Sight, key: tuple[str, str, str]) -> None:
        self._sight = sight
        self._key = key
        self._began_s = 0.0

    def __enter__(self) -> None:
        sight, key = self._sight, self._key
        sight.waiting[key] = sight.waiting.get(key, 0) + 1
        self._began_s = sight.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sight, key = self._sight, self._key
        left = sight.waiting[key] - 1
        if left:
            sight.waiting[key] = left
        else:
            del sight.waiting[key]
        sight.waited[key[1]].observe(sight.monotonic() - self._began_s)


class Sight:
    """The sums of one process, from its start on."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self.attempts: dict[tuple[str, str], int] = {}  #: route, kind ("ok" or a failure's) → calls
        self.seconds: dict[str, Histogram] = {}  #: route → seconds of its calls
        self.tokens: dict[tuple[str, str], int] = {}  #: route, class → tokens
        self.nanousd: dict[str, int] = {}  #: route → what its calls cost
        self.unpriced: dict[str, int] = {}  #: route → calls whose cost is not known
        self.maybe_billed: dict[str, int] = {}  #: route → calls that may have been billed without an answer
        self.waiting: dict[tuple[str, str, str], int] = {}  #: batch, reason, where → lines
        self.waited = {reason.value: Histogram(WAIT_S) for reason in Reason}
        self.ended: Counter[str] = Counter()  #: batch → lines; forgotten when the batch is closed here
        self.lines = 0  #: ended in all
        self.renewals = 0
        self.claims_lost = 0
        self.lag_s = 0.0  #: the longest that the event loop was late, lately
        self._troubles: deque[tuple[float, str, str]] = deque(maxlen=_MOST_RECENT)

    def wait(self, batch_id: str, reason: Reason, where: str = "") -> _Waiting:
        """A wait of one line, for a ``with`` around it."""
        return _Waiting(self, (batch_id, reason.value, where))

    def call(self, attempt: Attempt) -> None:
        """Note an ended call."""
        route = f"{attempt.provider}/{attempt.model}"
        key = (route, attempt.kind)
        self.attempts[key] = self.attempts.get(key, 0) + 1
        seconds = self.seconds.get(route)
        if seconds is None:
            seconds = self.seconds[route] = Histogram(CALL_S)
        seconds.observe(attempt.latency_s)
        if attempt.kind != "ok":
            self._troubles.append((attempt.started_s + attempt.latency_s, route, attempt.kind))
        usage = attempt.usage
        if usage is not None:
            tokens = self.tokens
            for kind, count in (
                ("input", usage.input_tokens - usage.cached_input_tokens),
                ("cached_input", usage.cached_input_tokens),
                ("output", usage.output_tokens - usage.reasoning_tokens),
                ("reasoning", usage.reasoning_tokens),
            ):
                if count > 0:
                    tokens[route, kind] = tokens.get((route, kind), 0) + count
        cost = attempt.cost.nanousd
        if cost is None:
            self.unpriced[route] = self.unpriced.get(route, 0) + 1
        elif cost:
            self.nanousd[route] = self.nanousd.get(route, 0) + cost
        if attempt.billed is Billed.MAYBE:
            self.maybe_billed[route] = self.maybe_billed.get(route, 0) + 1

    def end(self, batch_id: str) -> None:
        """Note a line's end."""
        self.ended[batch_id] += 1
        self.lines += 1

    def waits(self) -> list[Wait]:
        """Who waits for what at the moment."""
        return [Wait(batch_id, reason, where, lines) for (batch_id, reason, where), lines in self.waiting.items()]

    def troubles(self, now_s: float, offset_s: float = 0.0) -> list[Trouble]:
        """Failed calls of the last minute, by route and kind; their times are moved by ``offset_s``."""
        recent = self._troubles
        while recent and now_s - recent[0][0] > _RECENT_S:
            recent.popleft()
        counts = Counter((route, kind) for _, route, kind in recent)
        last = {(route, kind): at_s for at_s, route, kind in recent}
        return [Trouble(route, kind, count, last[route, kind] + offset_s) for (route, kind), count in counts.items()]
