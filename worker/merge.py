"""Parts to results: a pure function of the parts, in input order.

Comes in: the batch's document and its part objects. Goes out: ``output.jsonl`` and ``errors.jsonl`` with their digests,
and the fold of all parts' tallies. Lines are copied as bytes, a shard's at once where one part has them all; nothing of
them is parsed. Running it twice writes the same bytes. In memory are one shard's parts and a few that are read ahead.
Called by ``finish``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bucketline.batch import BatchDocument
from bucketline.errors import BucketlineError
from bucketline.jsonl import records
from bucketline.layout import errors_object, output_object, parts_prefix, rejects_object, shard_of_part
from bucketline.part import BadPart, Part, check_body, parse_header
from bucketline.splice import loads
from bucketline.store import NotFound, Store, StoreUnavailable, Writer
from bucketline.tally import Tally
from worker.logs import logger

__all__ = ["Digest", "LinesMissing", "Merged", "merge"]

_log = logger(__name__)
_AHEAD = 2  #: parts read ahead, of 8 MiB at most as a rule


class LinesMissing(BucketlineError):
    """Shards whose parts do not hold all their lines, which are to be worked off again.

    ``lacking`` is shard → lines without an outcome (numbers that are blank in the input among them); ``tally`` is of
    the lines that are there.
    """

    def __init__(self, batch_id: str, lacking: dict[int, list[int]], tally: Tally) -> None:
        super().__init__(f"{batch_id}: the parts of {len(lacking)} shards lack lines; they are taken up again.")
        self.lacking = lacking
        self.tally = tally


@dataclass(frozen=True, slots=True)
class Digest:
    """One written object, as the manifest lists it."""

    lines: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge wrote."""

    output: Digest
    errors: Digest
    tally: Tally


@dataclass(slots=True)
class _Sink:
    writer: Writer
    lines: int = 0

    async def write(self, data: bytes, lines: int) -> None:
        if lines:
            await self.writer.write(data)
            self.lines += lines

    def digest(self) -> Digest:
        return Digest(self.lines, self.writer.size_bytes, self.writer.sha256)


async def merge(store: Store, document: BatchDocument) -> Merged:
    """Write the results of a batch. Raises LinesMissing before anything is visible, and the store's errors."""
    tally = Tally()
    rejects = await _rejects(store, document, tally)
    lacking: dict[int, list[int]] = {}
    async with (
        store.writer(output_object(document.id)) as output_writer,
        store.writer(errors_object(document.id)) as errors_writer,
    ):
        output, errors = _Sink(output_writer), _Sink(errors_writer)
        pending = iter(rejects)
        reject = next(pending, None)
        parts = _by_shard(store, document)
        async for number, shard_parts in parts:
            first, _, _, count = document.shards[number]
            last = document.shards[number + 1][0] - 1 if number + 1 < len(document.shards) else document.last_line
            chosen = _choose(shard_parts)
            own_rejects = []
            while reject is not None and reject[0] <= last:
                own_rejects.append(reject)
                reject = next(pending, None)
            in_shard = {line for line, _ in own_rejects if line >= first}
            if len(chosen) + len(in_shard) < count:
                lacking[number] = [n for n in range(first, last + 1) if n not in chosen and n not in in_shard]
            await output.write(*_answered(shard_parts, chosen))
            await errors.write(*_failed(chosen, own_rejects))
            tally.merge(_fold(shard_parts, chosen))
        while reject is not None:
            await errors.write(reject[1] + b"\n", 1)
            reject = next(pending, None)
        if lacking:
            raise LinesMissing(document.id, lacking, tally)
    return Merged(output.digest(), errors.digest(), tally)


_Line = tuple[bool, bytes, int, int]  #: answered; the part's bytes, and where in them the line lies with its newline


async def _rejects(store: Store, document: BatchDocument, tally: Tally) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    if document.rejected:
        async for record in records(store.read(rejects_object(document.id))):
            parsed = loads(record.raw)
            tally.add_line(parsed)
            found.append((parsed["bucketline"]["line"], record.raw))
    return found


async def _by_shard(store: Store, document: BatchDocument) -> AsyncIterator[tuple[int, list[tuple[Part, bytes]]]]:
    """Every shard in order with its parts in key order; a shard without a part has an empty list."""
    next_shard = 0
    held: list[tuple[Part, bytes]] = []
    async for found in _read_ahead(store, document):
        if found is None:
            continue
        while next_shard < found[0].shard:
            yield next_shard, held
            held = []
            next_shard += 1
        held.append(found)
    while next_shard < len(document.shards):
        yield next_shard, held
        held = []
        next_shard += 1


async def _read_ahead(store: Store, document: BatchDocument) -> AsyncIterator[tuple[Part, bytes] | None]:
    """The batch's parts in key order; the next ones are fetched while the reader works on one."""
    coming: deque[asyncio.Task[tuple[Part, bytes] | None]] = deque()
    try:
        async for stat in store.list(parts_prefix(document.id)):
            coming.append(asyncio.create_task(_part(store, stat.key, len(document.shards))))
            if len(coming) > _AHEAD:
                yield await coming.popleft()
        while coming:
            yield await coming.popleft()
    finally:
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)


async def _part(store: Store, key: str, shards: int) -> tuple[Part, bytes] | None:
    """A part, whole and undamaged; None for anything else that lies there: its lines are lacking, and said to be.

    Raises StoreUnavailable for one that is listed and not there: a store that is behind, not a lost part.
    """
    try:
        if not 0 <= shard_of_part(key) < shards:
            return None
        raw = await store.get(key)
        part = parse_header(key, raw)
        check_body(part, raw)
    except ValueError:
        return None
    except NotFound:
        raise StoreUnavailable(f"{key} is listed and cannot be read yet; it is tried again.") from None
    except BadPart as error:
        _log.error("bad_part", reason=str(error))
        return None
    return part, raw


def _choose(parts: list[tuple[Part, bytes]]) -> dict[int, _Line]:
    """The shard's lines in order; where parts overlap the first in key order counts."""
    chosen: dict[int, _Line] = {}
    for part, raw in parts:
        for line, ok, at, size in part.places:
            if line not in chosen:
                chosen[line] = (ok, raw, at, size)
    return dict(sorted(chosen.items())) if len(parts) > 1 else chosen


def _answered(parts: list[tuple[Part, bytes]], chosen: dict[int, _Line]) -> tuple[bytes, int]:
    """The shard's answers and how many they are; a part that is alone has them in one range."""
    if len(parts) == 1 and len(parts[0][0].places) == len(chosen):
        part, raw = parts[0]
        return raw[part.output_start : part.output_start + part.output_bytes], part.answered
    pieces = [raw[at : at + size] for ok, raw, at, size in chosen.values() if ok]
    return b"".join(pieces), len(pieces)


def _failed(chosen: dict[int, _Line], rejects: list[tuple[int, bytes]]) -> tuple[bytes, int]:
    """The shard's lines without an answer, the refused ones among them, and how many they are."""
    failed = [(line, raw[at : at + size]) for line, (ok, raw, at, size) in chosen.items() if not ok]
    failed += [(line, raw + b"\n") for line, raw in rejects]
    failed.sort()
    return b"".join(data for _, data in failed), len(failed)


def _fold(parts: list[tuple[Part, bytes]], chosen: dict[int, _Line]) -> Tally:
    """The parts' own tallies where no line is in two parts, else the tally of the chosen lines."""
    tally = Tally()
    if sum(len(part.places) for part, _ in parts) == len(chosen):
        for part, _ in parts:
            tally.merge(Tally.from_document(part.tally))
    else:
        for _, raw, at, size in chosen.values():
            tally.add_line(loads(raw[at : at + size]))
    return tally
