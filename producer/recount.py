"""One part, read again: every line parsed, every cost worked out anew.

Comes in: a part object's bytes and the price rows of the manifest. Goes out: the tally of its lines, derived from the
lines alone, and sentences for whatever does not fit together: the digest, the header, a line's number, a cost. Pure;
called by ``verify`` part by part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bucketline.errors import ConfigError
from bucketline.failure import Billed
from bucketline.layout import generation_of_part, shard_of_part
from bucketline.manifest import Manifest
from bucketline.money import nano_from_usd, usd
from bucketline.part import BadPart, Part, parse_header
from bucketline.rates import Rates, Step
from bucketline.splice import loads
from bucketline.tally import Tally
from bucketline.usage import Usage

__all__ = ["Recount", "price_rows", "recount"]


@dataclass(frozen=True, slots=True)
class Recount:
    """What a part holds: (line number, answered, bytes with the newline) in its order, and what is wrong with it."""

    lines: tuple[tuple[int, bool, bytes], ...]
    tally: Tally
    faults: tuple[str, ...]


def price_rows(manifest: Manifest) -> dict[str, Step]:
    """The price rows that a manifest used, by key. Raises ConfigError when a unit price is no amount."""
    return {
        row.price_key: Step(
            key=row.price_key,
            model=row.priced_as,
            tier=row.tier,
            over_input_tokens=row.over_input_tokens,
            unit_prices=row.unit_prices,
            source=row.price_source or "",
            date=row.price_date,
            rates=Rates.from_prices(row.unit_prices),
        )
        for row in manifest.cost.by_route
        if row.priced_as is not None
    }


def recount(key: str, raw: bytes, prices: Mapping[str, Step]) -> Recount:
    """Read a part again; never raises, whatever the bytes are."""
    try:
        part = parse_header(key, raw)
    except BadPart as bad:
        return Recount((), Tally(), (str(bad),))
    faults = list(_header_faults(part, raw))
    tally = Tally()
    lines = []
    for line, ok, at, size in part.places:
        data = raw[at : at + size]
        lines.append((line, ok, data))
        faults.extend(f"line {line}: {fault}" for fault in _line_faults(line, ok, data, tally, prices))
    if not faults and _sums(tally.document()) != _sums(part.tally):
        faults.append("its header's tally is not that of its lines")
    return Recount(tuple(lines), tally, tuple(faults))


def _header_faults(part: Part, raw: bytes) -> Iterator[str]:
    body = memoryview(raw)[part.output_start :]
    if sha256(body).hexdigest() != part.sha256:
        yield "its lines are not those of its digest"
    if (part.shard, part.generation) != (shard_of_part(part.key), generation_of_part(part.key)):
        yield "its header names another shard or claim than its name"
    sizes = [size for _, ok, _, size in part.places if ok], [size for _, ok, _, size in part.places if not ok]
    if (sum(sizes[0]), sum(sizes[1])) != (part.output_bytes, part.errors_bytes) or len(raw) != part.size_bytes:
        yield "its header's sizes do not fit its bytes"


def _line_faults(number: int, ok: bool, data: bytes, tally: Tally, prices: Mapping[str, Step]) -> Iterator[str]:
    try:
        line = loads(data)
        block = line["bucketline"]
        tally.add_line(line)
        if block["line"] != number or (line["error"] is None) is not ok or not data.endswith(b"\n"):
            yield "is not where the header says"
        yield from _cost_faults(block, prices)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
        yield "cannot be read"


def _cost_faults(block: Mapping[str, Any], prices: Mapping[str, Step]) -> Iterator[str]:
    log = block.get("attempt_log")
    if log is None:
        if block.get("attempts"):
            yield from _call_faults(block, prices)
        return
    for entry in log:
        if entry["billed"] != Billed.MAYBE:
            yield from _call_faults(entry, prices)
    costs = [entry["cost_usd"] for entry in log]
    total = None if None in costs else usd(sum(map(nano_from_usd, costs)))
    if block["cost_usd"] != total:
        yield f"its cost {block['cost_usd']} is not the sum of its calls, {total}"


def _call_faults(entry: Mapping[str, Any], prices: Mapping[str, Step]) -> Iterator[str]:
    """One call's cost against its usage and its price row; a gateway's own charge is taken as it is."""
    key = entry.get("price")
    usage = None if entry["usage"] is None else Usage.from_document(entry["usage"])
    if not key or usage is None:
        return
    step = prices.get(key)
    if step is None:
        yield f"its price row {key} is not in the manifest"
        return
    if step.over_input_tokens is not None and usage.input_tokens <= step.over_input_tokens:
        yield f"its price row holds for more than {step.over_input_tokens} input tokens, and it has {usage.input_tokens}"
    stated = entry["computed_usd"] if "reported_usd" in entry else entry["cost_usd"]
    derived = usd(step.rates.nanousd(usage))
    if stated != derived:
        yield f"its usage costs {derived}, and it says {stated}"


def _sums(document: Mapping[str, Any]) -> dict[str, Any]:
    """A tally's document without the price rows, which lines do not carry, in the shape that JSON gives it."""
    kept = {name: value for name, value in document.items() if name not in ("prices", "origins")}
    kept["latency"] = {**kept["latency"], "buckets": [list(pair) for pair in kept["latency"]["buckets"]]}
    return kept
