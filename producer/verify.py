"""The bill, derived again: parts and price rows against the manifest and the files.

Comes in: a store and a batch's id. Goes out: a ``Report`` that is empty when everything agrees: digests of all files,
counts, usage and cost of the manifest, every line's cost from its usage and its unit prices. Where something differs it
names the part. One shard's parts are in memory at a time. Called by ``bucketline verify``; changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bucketline.batch import BatchDocument
from bucketline.bill import figures
from bucketline.documents import read_document
from bucketline.errors import BatchNotFound, NotFinished
from bucketline.layout import errors_object, input_object, manifest_object, output_object, parts_prefix
from bucketline.manifest import Manifest
from bucketline.splice import loads
from bucketline.store import NotFound, Store
from bucketline.tally import Tally
from producer.parts import Rejects, by_shard, last_line
from producer.recount import Recount, price_rows, recount

__all__ = ["Finding", "Report", "verify"]

_MOST = 100  #: findings kept; the rest is counted


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not agree: which object or which member of the manifest, and what is wrong there."""

    place: str
    message: str


@dataclass(slots=True)
class Report:
    """What was checked and what was found."""

    id: str
    parts: int = 0
    lines: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: int = 0  #: findings beyond those kept

    @property
    def ok(self) -> bool:
        return not self.findings

    def found(self, place: str, message: str) -> None:
        if len(self.findings) < _MOST:
            self.findings.append(Finding(place, message))
        else:
            self.more += 1

    def document(self) -> dict[str, Any]:
        """What ``verify --json`` prints."""
        findings = [{"place": finding.place, "message": finding.message} for finding in self.findings]
        return {
            "id": self.id,
            "ok": self.ok,
            "parts": self.parts,
            "lines": self.lines,
            "findings": findings,
            "more_findings": self.more,
        }


class _Digest:
    """Lines, bytes and SHA-256 of what passes."""

    def __init__(self) -> None:
        self.lines = self.size_bytes = 0
        self._hash = hashlib.sha256()

    def take(self, data: bytes, lines: int) -> None:
        self.lines += lines
        self.size_bytes += len(data)
        self._hash.update(data)

    def document(self) -> dict[str, Any]:
        return {"lines": self.lines, "bytes": self.size_bytes, "sha256": self._hash.hexdigest()}


async def verify(
    store: Store, batch_id: str, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Report:
    """Derive a batch's bill again; ``progress`` hears of shards done and of all.

    Raises BatchNotFound, NotFinished while there is no manifest, BadManifest, and the store's errors.
    """
    document, manifest = await _documents(store, batch_id)
    report = Report(batch_id)
    stated = manifest.model_dump(mode="json")
    for name, key in (
        ("input.jsonl", input_object(batch_id)),
        ("output.jsonl", output_object(batch_id)),
        ("errors.jsonl", errors_object(batch_id)),
    ):
        await _check_file(store, key, stated["files"].get(name), report)
    if document.shards and not await _any_part(store, batch_id):
        place = parts_prefix(batch_id)
        report.found(place, "no part is left (`gc` removes those of old batches), so only the files were checked")
        return report
    tally, output, errors = await _recount(store, document, manifest, report, progress)
    for name, digest in (("output.jsonl", output), ("errors.jsonl", errors)):
        _compare(f"manifest.json files.{name}", stated["files"].get(name), digest.document(), report)
    derived = manifest.model_copy(
        update=figures(
            tally,
            price_rows(manifest),
            created_day=manifest.created_at[:10],
            max_usd=manifest.cost.max_usd,
            saved=manifest.cost.saved,
        )
    ).model_dump(mode="json")
    for member in ("counts", "usage", "cost", "latency_s", "errors"):
        _compare(f"manifest.json {member}", stated[member], derived[member], report)
    report.lines = tally.total
    return report


async def _documents(store: Store, batch_id: str) -> tuple[BatchDocument, Manifest]:
    try:
        document = await read_document(store, batch_id)
    except NotFound:
        raise BatchNotFound(f"There is no batch {batch_id} in {store.address}.") from None
    try:
        return document, Manifest.parse(await store.get(manifest_object(batch_id)))
    except NotFound:
        raise NotFinished(f"{batch_id} is not over yet; it has no manifest to verify.") from None


async def _any_part(store: Store, batch_id: str) -> bool:
    async for _ in store.list(parts_prefix(batch_id)):
        return True
    return False


async def _check_file(store: Store, key: str, stated: dict[str, Any] | None, report: Report) -> None:
    """The file's own bytes against the manifest; a batch without error lines may lack that file."""
    digest = _Digest()
    try:
        async for block in store.read(key):
            digest.take(block, 0)
    except NotFound:
        if stated is not None and stated["bytes"]:
            report.found(key, "is missing")
        return
    counted = digest.document()
    if stated is None or (stated["bytes"], stated["sha256"]) != (counted["bytes"], counted["sha256"]):
        report.found(key, "is not the file that the manifest lists: its size or its digest differs")


async def _recount(
    store: Store, document: BatchDocument, manifest: Manifest, report: Report, progress: Callable[[int, int], None]
) -> tuple[Tally, _Digest, _Digest]:
    """Every shard's lines in input order, the first part in key order counting for each; their tally and digests."""
    tally, output, errors = Tally(), _Digest(), _Digest()
    prices = price_rows(manifest)
    rejects = Rejects(store, document, tally, report.found)
    async for number, parts in by_shard(store, document, report.found):
        counts: list[Recount] = []
        for key, raw in parts:
            counted = recount(key, raw, prices)
            counts.append(counted)
            report.parts += 1
            for fault in counted.faults:
                report.found(key, fault)
        chosen = _choose(counts)
        last = last_line(document, number)
        refused = [reject async for reject in rejects.until(last)]
        _expect_all(document, number, len(chosen), refused, report)
        tally.merge(_tally_of(counts, chosen))
        failed = sorted([(line, data) for line, (ok, data) in chosen.items() if not ok] + refused)
        for _, (ok, data) in sorted(chosen.items()):
            if ok:
                output.take(data, 1)
        for _, data in failed:
            errors.take(data, 1)
        progress(number + 1, len(document.shards))
    async for _, data in rejects.until(document.last_line):
        errors.take(data, 1)
    return tally, output, errors


def _choose(counts: list[Recount]) -> dict[int, tuple[bool, bytes]]:
    chosen: dict[int, tuple[bool, bytes]] = {}
    for counted in counts:
        for line, ok, data in counted.lines:
            chosen.setdefault(line, (ok, data))
    return chosen


def _tally_of(counts: list[Recount], chosen: dict[int, tuple[bool, bytes]]) -> Tally:
    """The parts' derived tallies, or, where two parts hold one line, that of the lines that count."""
    tally = Tally()
    if sum(len(counted.lines) for counted in counts) == len(chosen):
        for counted in counts:
            tally.merge(counted.tally)
        return tally
    for _, data in chosen.values():
        try:
            tally.add_line(loads(data))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # its part has been named for it
    return tally


def _expect_all(
    document: BatchDocument, number: int, found: int, refused: list[tuple[int, bytes]], report: Report
) -> None:
    first, _, _, expected = document.shards[number]
    found += sum(1 for line, _ in refused if line >= first)
    if found != expected:
        report.found(f"{parts_prefix(document.id)}{number:07d}-*", f"hold {found} of the shard's {expected} lines")


def _compare(place: str, stated: Any, derived: Any, report: Report) -> None:
    for path, one, other in _differences(stated, derived, ""):
        report.found(f"{place}{path}", f"says {one!r}, and the lines say {other!r}")


def _differences(stated: Any, derived: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Leaves that differ, by their path."""
    if isinstance(stated, dict) and isinstance(derived, dict):
        for name in sorted(stated.keys() | derived.keys()):
            yield from _differences(stated.get(name), derived.get(name), f"{path}.{name}")
    elif isinstance(stated, list) and isinstance(derived, list) and len(stated) == len(derived):
        for position, (one, other) in enumerate(zip(stated, derived, strict=True)):
            yield from _differences(one, other, f"{path}[{position}]")
    elif stated != derived:
        yield path, stated, derived
