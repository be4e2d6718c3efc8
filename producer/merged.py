"""A batch and its reruns as one result: every line once, in the first batch's order, the best there is.

Comes in: a rerun that is over, and a place. Goes out: ``output.jsonl`` and ``errors.jsonl`` of the first batch with the
rerun's lines in the places of those that they ran again, and ``merged.json``, last. A new answer takes the place of whatever
was there, a new failure only that of an old failure: what was paid for is kept. Streams; both batches' results lie in
input order, so joining them needs no memory. Called by the client and the ``results`` command.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from bucketline.batch import BatchDocument
from bucketline.documents import read_document
from bucketline.errors import BatchNotFound, UsageError
from bucketline.jsonl import records
from bucketline.layout import errors_object, output_object
from bucketline.money import nano_from_usd, usd
from bucketline.request import JsonScalar
from bucketline.splice import loads, splice
from bucketline.store import NotFound, Store
from producer.download import finished_manifest

__all__ = ["copy_merged"]


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a result."""

    ok: bool
    custom_id: JsonScalar
    raw: bytes
    block: dict[str, Any]

    def stands_for(self, other: _Row) -> bool:
        """Whether both are the same line; ids keep their type."""
        return type(self.custom_id) is type(other.custom_id) and self.custom_id == other.custom_id


async def copy_merged(batch_id: str, store: Store, to: Store) -> dict[str, Any]:
    """Write the merged results; returns what ``merged.json`` says.

    Raises UsageError for a batch that is no rerun, NotFinished, BatchNotFound, and the errors of both stores.
    """
    chain = await _chain(batch_id, store)
    if len(chain) == 1:
        raise UsageError(f"{batch_id} is no rerun; there is nothing to merge it with.")
    manifests = [await finished_manifest(document.id, store) for document in chain]
    rows = _rows(chain[0].id, store)
    for document in chain[1:]:
        rows = _joined(rows, _rows(document.id, store), document.id)
    async with to.writer("output.jsonl") as output, to.writer("errors.jsonl") as errors:
        counts = {"output.jsonl": 0, "errors.jsonl": 0}
        async for row in rows:
            await (output if row.ok else errors).write(row.raw + b"\n")
            counts["output.jsonl" if row.ok else "errors.jsonl"] += 1
    said: dict[str, Any] = {
        "id": batch_id,
        "batches": [one.id for one in chain],
        "counts": {
            "total": sum(counts.values()),
            "completed": counts["output.jsonl"],
            "failed": counts["errors.jsonl"],
        },
        "files": {
            name: {"lines": counts[name], "bytes": writer.size_bytes, "sha256": writer.sha256}
            for name, writer in (("output.jsonl", output), ("errors.jsonl", errors))
        },
        "cost": {
            "usd": usd(sum(nano_from_usd(manifest["cost"]["usd"]) for manifest in manifests)),
            "complete": all(manifest["cost"]["complete"] for manifest in manifests),
        },
    }
    await to.put("merged.json", orjson.dumps(said, option=orjson.OPT_INDENT_2) + b"\n")
    return said


async def _chain(batch_id: str, store: Store) -> list[BatchDocument]:
    """The first batch, then its reruns up to this one."""
    chain: list[BatchDocument] = []
    following: str | None = batch_id
    while following is not None:
        try:
            document = await read_document(store, following)
        except NotFound:
            raise BatchNotFound(f"There is no batch {following} in {store.address}.") from None
        chain.insert(0, document)
        following = document.rerun_of
    return chain


async def _rows(batch_id: str, store: Store) -> AsyncIterator[_Row]:
    """All lines of a batch in input order, from its two files."""
    answered = _file(store, output_object(batch_id), ok=True)
    others = _file(store, errors_object(batch_id), ok=False)
    heads = [await anext(answered, None), await anext(others, None)]
    while (first := min((row for row in heads if row), key=lambda row: row.block["line"], default=None)) is not None:
        yield first
        position = heads.index(first)
        heads[position] = await anext((answered, others)[position], None)


async def _file(store: Store, key: str, *, ok: bool) -> AsyncIterator[_Row]:
    async for record in records(store.read(key)):
        parsed = loads(record.raw)
        yield _Row(ok, parsed["custom_id"], record.raw, parsed["bucketline"])


async def _joined(before: AsyncIterator[_Row], again: AsyncIterator[_Row], batch_id: str) -> AsyncIterator[_Row]:
    """The rows before, with those that were run again in their places. Both are in the same order."""
    following = await anext(again, None)
    async for old in before:
        if following is None or not following.stands_for(old):
            yield old
            continue
        yield _placed(following, old, batch_id) if following.ok or not old.ok else old
        following = await anext(again, None)


def _placed(new: _Row, old: _Row, batch_id: str) -> _Row:
    """The new row under the old one's line number, with the batch that ran it."""
    block = {**new.block, "line": old.block["line"], "rerun": new.block.get("rerun", batch_id)}
    return _Row(new.ok, new.custom_id, splice(new.raw, {"bucketline": block}), block)
