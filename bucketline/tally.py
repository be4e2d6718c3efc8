"""The bill of any set of lines: a fold that does not care about order or cut.

Comes in: outcomes as they are recorded, or the same lines as they were written. Goes out: counts, usage and cost by
route and price row, and all that the manifest says about them. ``a.merge(b)`` is the tally of both sets, so a worker
tallies its part, finish merges the parts' tallies and a million lines need no memory; verify reads the lines again and
must come to the same. Money is a sum of integers, each rounded once per call.

A row is kept for each model asked for, provider, model, tier and price row. Every attempt counts: a failed one that
was billed is in its row and also apart; one that may have been billed is in neither, only in ``maybe_*``, a range
that begins at nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bucketline.failure import Billed, Code
from bucketline.money import nano_from_usd
from bucketline.outcome import Attempt, Outcome
from bucketline.rates import Step
from bucketline.sketch import LatencySketch
from bucketline.tallyrow import Call, RowKey, TallyRow
from bucketline.usage import Usage

__all__ = ["CUT", "Origin", "Tally"]

#: words for an answer that met its output cap, in any provider's spelling
CUT = frozenset({"length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length"})
_MOST_NAMES = 100  #: unpriced names listed; served names come from outside

#: (provider, model, served model or "", tier): enough to look a price row up again
Origin = tuple[str, str, str, str]


@dataclass(slots=True)
class Tally:
    """Sums over lines. Two tallies of the same lines are equal, however they were added and merged."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0  #: calls that left for a provider
    retries: int = 0  #: further calls on the same route
    fallbacks: int = 0  #: changes of route within a line
    truncated: int = 0  #: answers that met their output cap
    failed_attempts: int = 0  #: failed calls that were billed
    failed_nanousd: int = 0
    maybe_attempts: int = 0  #: calls that may have been billed
    maybe_nanousd: int = 0  #: what those cost at most
    maybe_unknown: int = 0  #: those of which not even that is known
    without_usage: int = 0  #: answers without usage
    unknown_cost: int = 0  #: calls whose cost cannot be known
    errors: dict[str, int] = field(default_factory=dict)
    rows: dict[RowKey, TallyRow] = field(default_factory=dict)
    prices: dict[str, Step] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)  #: of price keys whose row is not at hand
    unpriced: set[str] = field(default_factory=set)
    latency: LatencySketch = field(default_factory=LatencySketch)

    @property
    def total(self) -> int:
        """Lines."""
        return self.completed + self.failed + self.cancelled

    @property
    def usage(self) -> Usage:
        """Every token that was billed, on failed attempts too."""
        return sum((row.usage for row in self.rows.values()), Usage())

    @property
    def nanousd(self) -> int:
        """The known cost, failed attempts that were billed included."""
        return sum(row.nanousd for row in self.rows.values())

    @property
    def complete(self) -> bool:
        """Whether the cost is all there is: nothing unpriced, unmeasured or perhaps billed."""
        return not (self.unpriced or self.without_usage or self.unknown_cost or self.maybe_attempts)

    def counters(self) -> dict[str, int]:
        """The sums as a batch's counters in Redis are named."""
        return {
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "attempts": self.attempts,
            "nanousd": self.nanousd,
            "unpriced": self.unknown_cost,
            "tokens": self.usage.total_tokens,
        }

    def add(self, outcome: Outcome) -> None:
        """Take a line as it is recorded."""
        attempts = outcome.attempts
        latency_s = attempts[-1].latency_s if attempts else None
        self._line(outcome.code, outcome.finish_reason, latency_s)
        before: tuple[str, str] | None = None
        for attempt in attempts:
            before = self._step(before, attempt.provider, attempt.model)
            call = _call_of(outcome.requested_model, attempt)
            price = attempt.cost.price
            if price is not None and price.key not in self.prices:
                self.prices[price.key] = price
            self._call(call)

    def add_line(self, line: Mapping[str, Any]) -> None:
        """Take a line as it was written. Raises KeyError, TypeError or ConfigError when it is not one of ours."""
        block = line["bucketline"]
        error = line["error"]
        self._line(None if error is None else error["code"], block.get("finish_reason"), block.get("latency_s"))
        requested = block.get("requested_model") or ""
        log = block.get("attempt_log")
        if log is None:
            log = [{**block, "kind": "ok", "billed": "yes"}] if block.get("attempts") else []
        before: tuple[str, str] | None = None
        for entry in log:
            before = self._step(before, entry["provider"], entry["model"])
            call = _call_of_entry(requested, entry)
            key = call.key.price_key
            if key and key not in self.prices:
                origin = (entry["provider"], entry["model"], call.served_model or "", call.key.tier)
                self.origins[key] = min(origin, self.origins.get(key, origin))
            self._call(call)

    def merge(self, other: Tally) -> None:
        """Take everything that another tally took."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for code, count in other.errors.items():
            self.errors[code] = self.errors.get(code, 0) + count
        for key, row in other.rows.items():
            self._row(key).merge(row)
        self.prices = other.prices | self.prices
        for price_key, origin in other.origins.items():
            self.origins[price_key] = min(origin, self.origins.get(price_key, origin))
        self._name_unpriced(other.unpriced)
        self.latency.merge(other.latency)

    def document(self) -> dict[str, Any]:
        """How a part's header carries the tally; equal tallies have equal documents."""
        document: dict[str, Any] = {name: value for name in _COUNTS if (value := getattr(self, name))}
        document["errors"] = dict(sorted(self.errors.items()))
        document["rows"] = [[*key, self.rows[key].document()] for key in sorted(self.rows)]
        document["prices"] = {key: self.prices[key].document() for key in sorted(self.prices)}
        document["unpriced"] = sorted(self.unpriced)
        document["latency"] = self.latency.document()
        origins = {key: list(origin) for key, origin in sorted(self.origins.items()) if key not in self.prices}
        if origins:
            document["origins"] = origins
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Tally:
        """Read what ``document`` wrote. Raises KeyError, TypeError or ValueError when it is not a tally."""
        tally = cls()
        for name in _COUNTS:
            setattr(tally, name, int(document.get(name, 0)))
        tally.errors = {str(code): int(count) for code, count in document["errors"].items()}
        tally.rows = {RowKey(*row[:5]): TallyRow.from_document(row[5]) for row in document["rows"]}
        tally.prices = {key: Step.from_document(step) for key, step in document["prices"].items()}
        tally.origins = {key: (o[0], o[1], o[2], o[3]) for key, o in document.get("origins", {}).items()}
        tally.unpriced = set(document["unpriced"])
        tally.latency = LatencySketch.from_document(document["latency"])
        return tally

    def _line(self, code: str | None, finish_reason: str | None, latency_s: float | None) -> None:
        if code is None:
            self.completed += 1
            if latency_s is not None:
                self.latency.add(latency_s)
            if finish_reason in CUT:
                self.truncated += 1
            return
        if code == Code.CANCELLED:
            self.cancelled += 1
        else:
            self.failed += 1
        code = str(code)
        self.errors[code] = self.errors.get(code, 0) + 1

    def _step(self, before: tuple[str, str] | None, provider: str, model: str) -> tuple[str, str]:
        """Count one call of a line: its first, a retry of the route before, or a change of route."""
        self.attempts += 1
        route = (provider, model)
        if before is not None:
            if before == route:
                self.retries += 1
            else:
                self.fallbacks += 1
        return route

    def _call(self, call: Call) -> None:
        """Book one call. A failed call that cost nothing is only counted."""
        if call.ok or call.usage is not None or call.nanousd != 0:
            self._row(call.key).add(call)
            if not call.ok:
                self.failed_attempts += 1
                self.failed_nanousd += call.nanousd or 0
            if call.usage is None:
                self.without_usage += 1
            if call.nanousd is None:
                self.unknown_cost += 1
                if call.usage is not None or not call.key.price_key:
                    self._name_unpriced({call.served_model or call.key.model})
        if call.maybe:
            self.maybe_attempts += 1
            if call.maybe_nanousd is None:
                self.maybe_unknown += 1
            else:
                self.maybe_nanousd += call.maybe_nanousd

    def _row(self, key: RowKey) -> TallyRow:
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = TallyRow()
        return row

    def _name_unpriced(self, names: set[str]) -> None:
        """Keep the first names by spelling, so that the order in which they come changes nothing."""
        self.unpriced |= names
        if len(self.unpriced) > _MOST_NAMES:
            self.unpriced = set(sorted(self.unpriced)[:_MOST_NAMES])


_COUNTS = tuple(one.name for one in fields(Tally) if one.type == "int")


def _call_of(requested_model: str, attempt: Attempt) -> Call:
    cost = attempt.cost
    return Call(
        RowKey(requested_model, attempt.provider, attempt.model, cost.tier, cost.price_key),
        attempt.kind == "ok",
        attempt.usage,
        cost.nanousd,
        attempt.billed is Billed.MAYBE,
        cost.maybe_nanousd,
        attempt.served_model,
        cost.reported_nanousd,
        cost.computed_nanousd,
    )


def _call_of_entry(requested_model: str, entry: Mapping[str, Any]) -> Call:
    usage = entry["usage"]
    key = RowKey(
        requested_model, entry["provider"], entry["model"], entry.get("tier", "standard"), entry.get("price", "")
    )
    return Call(
        key,
        entry["kind"] == "ok",
        None if usage is None else Usage.from_document(usage),
        _nano(entry["cost_usd"]),
        entry["billed"] == Billed.MAYBE,
        _nano(entry.get("maybe_billed_usd", "0")),
        entry.get("served_model"),
        _nano(entry.get("reported_usd")),
        _nano(entry.get("computed_usd")),
    )


def _nano(text: str | None) -> int | None:
    return None if text is None else nano_from_usd(text)
