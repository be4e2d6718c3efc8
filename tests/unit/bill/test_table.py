"""The lines of a batch as a table: exact money, every line once, in input order."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow.compute
import pyarrow.parquet
import pytest

from bucketline.errors import NotFinished
from bucketline.store import open_store
from producer.table import COLUMNS, table_row, write_table
from tests.unit.bill.batches_for_tests import finish, write_batch


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_the_table_has_every_line_once_in_order_and_sums_to_the_bill(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    manifest = await finish(store, await write_batch(store, rejected=frozenset({1, 50})))
    rows = await write_table(store, "batch_1", tmp_path / "lines.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "lines.parquet")
    assert rows == table.num_rows == 100
    assert table.column_names == list(COLUMNS)
    assert table["line"].to_pylist() == list(range(1, 101))
    assert pyarrow.compute.sum(table["cost_usd"]).as_py() == Decimal(manifest.cost.usd)
    assert pyarrow.compute.sum(table["input_tokens"]).as_py() == manifest.usage["input_tokens"]
    assert table["ok"].to_pylist().count(True) == manifest.counts.completed
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["error_code"], first["cost_usd"], first["provider"], first["attempts"]) == (
        "invalid_input",
        0,
        None,
        0,
    )


async def test_a_failed_write_leaves_no_table(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    await write_batch(store)
    with pytest.raises(NotFinished, match="batch_1 is not over yet"):
        await write_table(store, "batch_1", tmp_path / "lines.parquet")
    manifest = await finish(store, await write_batch(store))
    output = f"batches/{manifest.id}/output.jsonl"
    await store.put(output, (await store.get(output))[:-50])
    with pytest.raises(ValueError, match=r".*"):
        await write_table(store, "batch_1", tmp_path / "lines.parquet")
    assert _names(tmp_path) == ["store"]


@pytest.mark.parametrize(("custom_id", "text"), [("r-1", "r-1"), (7, "7"), (None, "null"), (True, "true"), ("7", "7")])
def test_an_id_of_any_type_is_text(custom_id: object, text: str) -> None:
    line = {"custom_id": custom_id, "error": None, "response": None, "bucketline": {"line": 1}}
    row = table_row(line)
    assert (row["custom_id"], row["cost_usd"], row["tier"]) == (text, None, "standard")
