"""One line's whole life: where it lies, what was asked, every attempt, and its end.

Comes in: a batch, and a line's number or ``custom_id``. Goes out: a ``LineLife``. A line with an outcome is found in the part of
its shard, in the rejects, or, where no part holds it yet, in Redis; a ``custom_id`` is looked for in the input as it streams
past. Bodies are read with the line and leave this file only where they are asked for. Called by ``show``.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bucketline.batch import BatchDocument
from bucketline.documents import read_document
from bucketline.errors import BatchNotFound, UsageError
from bucketline.jsonl import Record, records, records_of
from bucketline.layout import input_object, parts_prefix, rejects_object
from bucketline.ledger import Ledger
from bucketline.part import parse_header
from bucketline.request import JsonScalar, read_request
from bucketline.splice import loads
from bucketline.store import NotFound, Store

__all__ = ["LineLife", "life_of_line", "open_document"]


@dataclass(frozen=True, slots=True)
class LineLife:
    """What is known of one line. ``row`` is its line of the results, None while it has no outcome."""

    batch_id: str
    line: int
    custom_id: JsonScalar
    shard: int | None  #: None for a line that was refused at submit and lies in no shard
    row: Mapping[str, Any] | None
    asked: bytes  #: the line of the input, as it came

    @property
    def state(self) -> str:
        """``answered``, ``failed`` or ``open``."""
        return "open" if self.row is None else "failed" if self.row["error"] else "answered"

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Its calls, the first first. The row of a line that went well at once spells its only call shorter."""
        if self.row is None:
            return []
        block = self.row["bucketline"]
        if "attempt_log" in block:
            return list(block["attempt_log"])
        if not block.get("attempts"):
            return []
        response = self.row["response"] or {}
        return [
            {
                "provider": block["provider"],
                "model": block["model"],
                "kind": "ok",
                "status_code": response.get("status_code"),
                "started_at": None,
                "latency_s": block["latency_s"],
                "usage": block["usage"],
                "cost_usd": block["cost_usd"],
                "request_id": response.get("request_id"),
            }
        ]

    def document(self, *, bodies: bool = False) -> dict[str, Any]:
        """What ``show --json`` prints."""
        row = self.row or {}
        block = dict(row.get("bucketline") or {})
        block.pop("attempt_log", None)
        response = row.get("response")
        document: dict[str, Any] = {
            "batch": self.batch_id,
            "line": self.line,
            "custom_id": self.custom_id,
            "state": self.state,
            "shard": self.shard,
            "error": row.get("error"),
            "bucketline": block or None,
            "attempts": self.attempts,
        }
        if bodies:
            document["request"] = _parsed(self.asked)
            document["response"] = response["body"] if response else None
        return document


async def open_document(batch_id: str, store: Store) -> BatchDocument:
    """The batch's document. Raises BatchNotFound."""
    try:
        return await read_document(store, batch_id)
    except NotFound:
        raise BatchNotFound(f"There is no batch {batch_id} in {store.address}.") from None


async def life_of_line(
    document: BatchDocument, which: str, store: Store, ledger: Ledger | None, *, by_id: bool = False
) -> LineLife:
    """The line of that number, or with that ``custom_id``: text that is no line's number, or anything with ``by_id``.

    Raises UsageError where the batch has no such line.
    """
    number = int(which) if not by_id and which.isascii() and which.isdigit() else None
    if number is None:
        record = await _with_id(document, which, store)
        if record is None:
            raise UsageError(f"{document.id} has no line whose custom_id is {which!r}.")
    else:
        record = await _numbered(document, number, store)
        if record is None:
            raise UsageError(
                f"{document.id} has no line {number}; its last is {document.last_line} (--id: by custom_id)."
            )
    shard = _shard_of(document, record.line)
    row = await _recorded(document, shard, record.line, store, ledger)
    custom_id = row["custom_id"] if row else read_request(record.raw, record.line, "-").custom_id
    return LineLife(document.id, record.line, custom_id, shard, row, record.raw)


def _shard_of(document: BatchDocument, line: int) -> int | None:
    position = bisect_right([first for first, *_ in document.shards], line) - 1
    return position if position >= 0 else None


async def _numbered(document: BatchDocument, number: int, store: Store) -> Record | None:
    """The record of a line, from its shard's bytes; lines refused at submit lie between shards, or in them."""
    if not 1 <= number <= document.last_line:
        return None
    shard = _shard_of(document, number)
    first, offset = (1, 0) if shard is None else document.shards[shard][:2]
    following = 0 if shard is None else shard + 1
    end = document.shards[following][1] if following < len(document.shards) else document.input_bytes
    raw = await store.get(input_object(document.id), offset=offset, length=end - offset)
    lines = records_of(raw, line=first, offset_bytes=offset)
    return next((record for record in lines if record.line == number), None)


async def _with_id(document: BatchDocument, custom_id: str, store: Store) -> Record | None:
    wanted: list[JsonScalar] = [custom_id]
    try:
        scalar = json.loads(custom_id)
    except ValueError:
        pass
    else:
        if not isinstance(scalar, dict | list):
            wanted.append(scalar)
    # Text without anything to escape lies in the line as it is, which is quicker to see than to parse.
    plain = custom_id.isascii() and custom_id.isprintable() and not set(custom_id) & set('"\\/')
    needle = custom_id.encode() if plain else b""
    async for record in records(store.read(input_object(document.id))):
        if needle in record.raw:
            found = read_request(record.raw, record.line, "-").custom_id
            if any(found == one and type(found) is type(one) for one in wanted):
                return record
    return None


async def _recorded(
    document: BatchDocument, shard: int | None, line: int, store: Store, ledger: Ledger | None
) -> dict[str, Any] | None:
    """The line of the results: from the parts, in whose order the first counts, else from Redis, else the rejects."""
    if shard is not None:
        async for stat in store.list(f"{parts_prefix(document.id)}{shard:07d}-"):
            raw = await store.get(stat.key)
            for number, _, offset, size in parse_header(stat.key, raw).places:
                if number == line:
                    return _row(raw[offset : offset + size])
        for entry in () if ledger is None else await ledger.unsealed(document.id, shard):
            if entry.line == line:
                return _row(entry.encoded)
    if document.rejected:
        async for record in records(store.read(rejects_object(document.id))):
            row = _row(record.raw)
            if row["bucketline"]["line"] == line:
                return row
    return None


def _row(raw: bytes) -> dict[str, Any]:
    row: dict[str, Any] = loads(raw)
    return row


def _parsed(raw: bytes) -> Any:
    try:
        return loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
