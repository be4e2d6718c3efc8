"""Spend over all batches of a store: sums of manifests, by whatever name one asks for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bucketline.errors import UsageError
from bucketline.layout import manifest_copy
from bucketline.manifest import Manifest
from bucketline.store import Store, open_store
from producer.spend import spend
from tests.unit.bill.batches_for_tests import finish, write_batch
from tests.unit.bill.prices_for_tests import NOW_S

DAY_S = 86_400


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    """Three finished batches of two teams on two days."""
    store = open_store(str(tmp_path / "store"))
    for number, (team, day) in enumerate((("search", 0), ("ads", 0), ("search", 1)), 1):
        document = await write_batch(
            store, f"batch_{number}", shards=(20 * number,), metadata={"team": team}, created_s=NOW_S + day * DAY_S
        )
        manifest = await finish(store, document)
        await store.put(manifest_copy(manifest.created_at[:10], manifest.id), manifest.encode())
    return store


async def _manifests(store: Store) -> list[Manifest]:
    return [Manifest.parse(await store.get(stat.key)) async for stat in store.list("manifests/")]


async def test_every_way_of_summing_adds_up_to_the_manifests(store: Store) -> None:
    total = sum(Decimal(manifest.cost.usd) for manifest in await _manifests(store))
    for by in (
        ["provider", "model"],
        ["day"],
        ["metadata.team"],
        ["batch", "tier", "status"],
        ["metadata.none"],
        ["month"],
    ):
        document = (await spend(store, by)).document()
        assert Decimal(document["usd"]) == sum(Decimal(row["usd"]) for row in document["rows"]) == total
        assert document["batches"] == 3


async def test_rows_are_by_value_the_dearest_first(store: Store) -> None:
    document = (await spend(store, ["metadata.team", "provider"])).document()
    assert [(row["metadata.team"], row["provider"], row["batches"]) for row in document["rows"]] == [
        ("search", "alpha", 2),
        ("ads", "alpha", 1),
        ("search", "beta", 2),
        ("ads", "beta", 1),
    ]
    by_day = (await spend(store, ["day"])).document()
    assert {row["day"]: row["batches"] for row in by_day["rows"]} == {"2026-11-18": 2, "2026-11-19": 1}


async def test_days_bound_what_is_summed(store: Store) -> None:
    assert (await spend(store, ["batch"], since="2026-11-19")).batches == 1
    assert (await spend(store, ["batch"], until="2026-11-18")).batches == 2
    assert (await spend(store, ["batch"], since="2027-01-01")).document()["usd"] == "0"


async def test_batches_whose_bill_is_not_complete_are_counted(store: Store) -> None:
    """Every 50th line of these batches was answered without usage: known is not the same as all."""
    document = (await spend(store, ["provider"])).document()
    assert (document["complete"], document["incomplete_batches"]) == (False, 3)


async def test_a_manifest_that_cannot_be_read_does_not_hide_the_others(store: Store) -> None:
    await store.put(manifest_copy("2026-11-18", "batch_0"), b"{}")
    assert (await spend(store, ["day"])).batches == 3


async def test_a_name_that_is_none_is_refused_with_those_that_are(store: Store) -> None:
    with pytest.raises(UsageError, match=r"summed by 'team'; name any of provider, model, .*, metadata\.KEY\."):
        await spend(store, ["team"])
