"""What was spent, over all batches of a store.

Comes in: the manifests of a range of days, and the names to sum by. Goes out: ``Spend``: one row for each combination of
their values, the dearest first. Called by ``bucketline spend``; reads manifests alone, so what a manifest does not
know is not known here either, and is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bucketline.errors import UsageError
from bucketline.manifest import Manifest, RouteRow
from bucketline.money import nano_from_usd, usd
from bucketline.store import Store
from producer.manifests import manifest_keys, manifests

__all__ = ["DIMENSIONS", "Spend", "SpendRow", "spend"]

#: name → its value for one row of one manifest; ``metadata.KEY`` beside these
DIMENSIONS: dict[str, Callable[[Manifest, RouteRow], str]] = {
    "provider": lambda _, row: row.provider,
    "model": lambda _, row: row.model,
    "tier": lambda _, row: row.tier,
    "day": lambda manifest, _: manifest.created_at[:10],
    "month": lambda manifest, _: manifest.created_at[:7],
    "batch": lambda manifest, _: manifest.id,
    "source": lambda manifest, _: manifest.source,
    "status": lambda manifest, _: manifest.status,
}
_METADATA = "metadata."


@dataclass(slots=True)
class SpendRow:
    """Sums over the route rows that share the values they are summed by."""

    batches: set[str] = field(default_factory=set)
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    nanousd: int = 0
    unknown: int = 0  #: calls without a known price

    def add(self, manifest: Manifest, row: RouteRow) -> None:
        calls = row.requests + row.failed_requests
        self.batches.add(manifest.id)
        self.requests += calls
        self.input_tokens += row.usage["input_tokens"]
        self.output_tokens += row.usage["output_tokens"]
        if row.usd is None:
            self.unknown += calls
        else:
            self.nanousd += nano_from_usd(row.usd)


@dataclass(slots=True)
class Spend:
    """The rows by their values, and what holds for all of them together."""

    by: tuple[str, ...]
    rows: dict[tuple[str, ...], SpendRow] = field(default_factory=dict)
    batches: int = 0
    incomplete: int = 0  #: batches whose bill is not all there is
    maybe_nanousd: int = 0

    def document(self) -> dict[str, Any]:
        """What ``spend --json`` prints; the dearest row first, then by name."""
        ordered = sorted(self.rows.items(), key=lambda pair: (-pair[1].nanousd, pair[0]))
        return {
            "by": list(self.by),
            "batches": self.batches,
            "usd": usd(sum(row.nanousd for row in self.rows.values())),
            "complete": self.incomplete == 0,
            "incomplete_batches": self.incomplete,
            "maybe_billed_usd": usd(self.maybe_nanousd),
            "rows": [_row(dict(zip(self.by, values, strict=True)), row) for values, row in ordered],
        }


async def spend(store: Store, by: Sequence[str], *, since: str = "", until: str = "9999") -> Spend:
    """Sum the manifests of batches made on those days (``YYYY-MM-DD``, both included). Raises UsageError."""
    result = Spend(tuple(by))
    values = [_dimension(name) for name in by]
    keys = await manifest_keys(store, since=since, until=until)
    async for manifest in manifests(store, keys):
        result.batches += 1
        result.incomplete += not manifest.cost.complete
        result.maybe_nanousd += nano_from_usd(manifest.cost.maybe_billed_usd)
        for row in manifest.cost.by_route:
            group = tuple(value(manifest, row) for value in values)
            result.rows.setdefault(group, SpendRow()).add(manifest, row)
    return result


def _dimension(name: str) -> Callable[[Manifest, RouteRow], str]:
    if name.startswith(_METADATA) and len(name) > len(_METADATA):
        key = name.removeprefix(_METADATA)
        return lambda manifest, _: manifest.metadata.get(key, "")
    if name not in DIMENSIONS:
        raise UsageError(f"Spend cannot be summed by {name!r}; name any of {', '.join(DIMENSIONS)}, metadata.KEY.")
    return DIMENSIONS[name]


def _row(values: dict[str, str], row: SpendRow) -> dict[str, Any]:
    return {
        **values,
        "batches": len(row.batches),
        "requests": row.requests,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "usd": usd(row.nanousd),
        "unknown_requests": row.unknown,
    }
