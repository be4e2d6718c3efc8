"""The simulator's own books: what came, what went, what was billed, which limits were pressed.

In: one ``Entry`` for every call when it is over, written before its last byte leaves, so that whoever has the answer
finds it in the books. Out: the document of ``GET /__books``. ``provider`` holds one ``Meter``. Sums only, unless calls
are recorded: memory does not grow with the calls, except for the ``remember`` youngest requests, by whose repeats
paid-for duplicates are counted. Shares no code with the product's own accounts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from worker.simulator.bill import usd_of
from worker.simulator.memory import Memory
from worker.simulator.talk import Spent

__all__ = ["Entry", "Meter"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One call. ``status`` is 0 where no HTTP answer was completed; ``fault`` says why."""

    number: int  #: 1 is the provider's first call
    model: str
    account: str
    endpoint: str
    status: int
    fault: str  #: "" | a ``Fault`` | "limit:SCOPE" | "money" | "left" (the client) | the name of a refusal
    identity: str  #: 16 hex digits, the same for the same request
    nth: int  #: 0 the first time the request is seen
    tag: str
    began_s: float  #: since the simulator's start
    ended_s: float
    spent: Spent
    nanousd: int | None  #: None if something was spent and the model has no price
    delivered: bool  #: a whole, good answer was sent


class _Sums:
    """Sums over calls; ``lost`` is what was billed without a good answer reaching the client."""

    __slots__ = ("calls", "delivered", "lost", "lost_nanousd", "nanousd", "tokens", "unpriced")

    def __init__(self) -> None:
        self.calls = self.delivered = self.nanousd = self.lost = self.lost_nanousd = self.unpriced = 0
        self.tokens = [0, 0, 0, 0, 0]

    def add(self, entry: Entry) -> None:
        spent, tokens = entry.spent, self.tokens
        self.calls += 1
        self.delivered += entry.delivered
        self.unpriced += entry.nanousd is None
        self.nanousd += entry.nanousd or 0
        tokens[0] += spent.input_tokens
        tokens[1] += spent.cached_tokens
        tokens[2] += spent.cache_write_tokens
        tokens[3] += spent.output_tokens
        tokens[4] += spent.reasoning_tokens
        if not entry.delivered and spent.input_tokens:
            self.lost += 1
            self.lost_nanousd += entry.nanousd or 0

    def report(self) -> dict[str, Any]:
        names = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
        return {
            "calls": self.calls,
            "delivered": self.delivered,
            "usage": dict(zip(names, self.tokens, strict=True)),
            "nanousd": self.nanousd,
            "usd": usd_of(self.nanousd),
            "unpriced_calls": self.unpriced,
            "lost": {"calls": self.lost, "nanousd": self.lost_nanousd, "usd": usd_of(self.lost_nanousd)},
        }


class Meter:
    """The books of one provider."""

    def __init__(self, remember: int, *, record: bool) -> None:
        self._remember = remember
        self.record = record
        self.reset()

    def reset(self) -> None:
        """Empty books; which requests were seen is forgotten too."""
        self.total = _Sums()
        self.calls: list[Entry] = []
        self._models: dict[str, _Sums] = {}
        self._accounts: dict[str, _Sums] = {}
        self._statuses: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()
        self._seen = Memory(self._remember)
        self._paid = Memory(self._remember)
        self.unrouted = 0  #: calls to a path that is none of the provider's; no other sum counts them
        self._repeats = self._paid_again = self._paid_again_nanousd = 0

    def nth(self, identity: bytes) -> int:
        """How many times this request was seen before; counts it."""
        before = self._seen.seen(identity)
        self._repeats += before > 0
        return before

    def enter(self, entry: Entry, identity: bytes) -> None:
        """A call is over."""
        self.total.add(entry)
        _sums(self._models, entry.model).add(entry)
        _sums(self._accounts, entry.account).add(entry)
        self._statuses[entry.status] += 1
        if entry.fault:
            self._faults[entry.fault] += 1
        if entry.delivered:
            self._pay(entry, identity)
        if self.record:
            self.calls.append(entry)

    def _pay(self, entry: Entry, identity: bytes) -> None:
        """A good answer for a request that has already had one is money spent twice."""
        if self._paid.seen(identity):
            self._paid_again += 1
            self._paid_again_nanousd += entry.nanousd or 0

    def report(self) -> dict[str, Any]:
        """The provider's part of the books, without its limits."""
        return self.total.report() | {
            "unrouted_calls": self.unrouted,
            "repeated_calls": self._repeats,
            "delivered_again": {
                "calls": self._paid_again, "nanousd": self._paid_again_nanousd, "usd": usd_of(self._paid_again_nanousd),
            },
            "by_status": {str(status): number for status, number in sorted(self._statuses.items())},
            "by_fault": dict(sorted(self._faults.items())),
            "by_model": {name: sums.report() for name, sums in sorted(self._models.items())},
            "by_account": {name: sums.report() for name, sums in sorted(self._accounts.items())},
        }  # fmt: skip

    def call_list(self) -> list[dict[str, Any]]:
        """Every recorded call, in the order they ended."""
        return [asdict(entry) for entry in self.calls]


def _sums(table: dict[str, _Sums], name: str) -> _Sums:
    sums = table.get(name)
    if sums is None:
        sums = table[name] = _Sums()
    return sums
