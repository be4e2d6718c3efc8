"""The lines of a batch as a table: one row a line, in Parquet.

Comes in: a finished batch in a store. Goes out: a file that DuckDB, pandas and the like read: ids, route, tokens, cost,
latency, error; not the answers, which stay in ``output.jsonl``. The results stream past once; one group of rows is in
memory at a time. Needs the optional extra ``parquet``. Called by ``bucketline lines``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

from bucketline.errors import NotFinished, UsageError
from bucketline.jsonl import records
from bucketline.layout import errors_object, manifest_object, output_object
from bucketline.splice import dumps, loads
from bucketline.store import NotFound, Store

__all__ = ["COLUMNS", "table_row", "write_table"]

#: column → its type in the table; money is an exact decimal with nine places
COLUMNS = {
    "line": "int64",
    "custom_id": "string",
    "ok": "bool",
    "status_code": "int32",
    "error_code": "string",
    "error_message": "string",
    "provider": "string",
    "model": "string",
    "requested_model": "string",
    "served_model": "string",
    "finish_reason": "string",
    "attempts": "int32",
    "input_tokens": "int64",
    "cached_input_tokens": "int64",
    "cache_write_tokens": "int64",
    "output_tokens": "int64",
    "reasoning_tokens": "int64",
    "cost_usd": "decimal",
    "latency_s": "float64",
    "tier": "string",
    "price_key": "string",
}
_TOKENS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_SAME = ("line", "provider", "model", "requested_model", "served_model", "finish_reason", "latency_s")
_GROUP_ROWS = 20_000


async def write_table(store: Store, batch_id: str, path: str | os.PathLike[str]) -> int:
    """Write the table of a batch to a local file, whole or not at all; the number of rows.

    Raises NotFinished, UsageError where the extra is not installed, and the store's errors.
    """
    arrow, parquet = _libraries()
    try:
        await store.stat(manifest_object(batch_id))
    except NotFound:
        raise NotFinished(f"{batch_id} is not over yet, or is not in {store.address}.") from None
    kinds = {"decimal": arrow.decimal128(20, 9), "bool": arrow.bool_()}
    schema = arrow.schema([(name, kinds.get(kind) or getattr(arrow, kind)()) for name, kind in COLUMNS.items()])
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    rows, held = 0, []
    try:
        with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            async for line in _in_input_order(store, batch_id):
                held.append(table_row(line))
                if len(held) == _GROUP_ROWS:
                    writer.write_table(arrow.Table.from_pylist(held, schema))
                    rows, held = rows + len(held), []
            writer.write_table(arrow.Table.from_pylist(held, schema))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return rows + len(held)


def table_row(line: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the results as a row. An id that is no text is written as its JSON."""
    block, error, response = line["bucketline"], line["error"] or {}, line["response"] or {}
    custom_id, usage, cost = line["custom_id"], block.get("usage") or {}, block.get("cost_usd")
    return {
        **{name: block.get(name) for name in _SAME},
        "custom_id": custom_id if isinstance(custom_id, str) else dumps(custom_id).decode(),
        "ok": line["error"] is None,
        "status_code": response.get("status_code"),
        "error_code": error.get("code"),
        "error_message": error.get("message"),
        "attempts": block.get("attempts") or 0,
        **{name: usage.get(name) for name in _TOKENS},
        "cost_usd": None if cost is None else Decimal(cost),
        "tier": block.get("tier", "standard"),
        "price_key": block.get("price"),
    }


async def _in_input_order(store: Store, batch_id: str) -> AsyncIterator[dict[str, Any]]:
    """The answered lines and the others, each in input order already, as one stream."""
    streams = [_lines(store, output_object(batch_id)), _lines(store, errors_object(batch_id))]
    heads = [await anext(stream, None) for stream in streams]
    while True:
        waiting = [position for position, head in enumerate(heads) if head is not None]
        if not waiting:
            return
        first = min(waiting, key=lambda position: _number(heads[position]))
        line = heads[first]
        assert line is not None
        yield line
        heads[first] = await anext(streams[first], None)


def _number(line: dict[str, Any] | None) -> int:
    return -1 if line is None else int(line["bucketline"]["line"])


async def _lines(store: Store, key: str) -> AsyncIterator[dict[str, Any]]:
    try:
        async for record in records(store.read(key)):
            yield loads(record.raw)
    except NotFound:
        return  # a batch without error lines may lack that file


def _libraries() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError("A table needs pyarrow; install bucketline[parquet].") from None
