"""What is asked of Redis about open batches: fresh for a batch that opens, and not once more for each of its shards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from bucketline.batch import BatchDocument, BatchOptions, State
from bucketline.failure import Kind
from bucketline.ledger import Flags, Ledger
from worker.control import Control


class Asked:
    """A ledger that knows one state and counts who asks."""

    def __init__(self, state: State) -> None:
        self.state, self.times = state, 0

    async def flags(self, batch_ids: Sequence[str]) -> tuple[dict[str, Flags], float]:
        self.times += 1
        return {batch_id: Flags(self.state, False, None) for batch_id in batch_ids}, time.time()


def a_batch(batch_id: str) -> BatchDocument:
    return BatchDocument(
        id=batch_id, source="x", created_s=0.0, options=BatchOptions(), lines=1, rejected=0,
        last_line=1, input_bytes=0, input_sha256="", shards=[],
    )  # fmt: skip


async def test_the_first_shard_of_a_batch_asks_for_its_flags_and_the_others_need_not() -> None:
    """A large batch has thousands of shards; their flags are looked at twice a second anyway."""
    ledger = Asked(State.IN_PROGRESS)
    control = Control(cast("Ledger", ledger), time.time)
    first = await control.open(a_batch("a"))
    for _ in range(10):
        assert await control.open(a_batch("a")) is first
    assert ledger.times == 1
    await control.open(a_batch("b"))
    assert ledger.times == 2


async def test_a_batch_that_opens_again_is_asked_for_anew() -> None:
    """It may have been cancelled meanwhile, and not one call of it may leave then."""
    ledger = Asked(State.IN_PROGRESS)
    control = Control(cast("Ledger", ledger), time.time)
    control.close_shard(await control.open(a_batch("a")))
    ledger.state = State.CANCELLING
    assert (await control.open(a_batch("a"))).ended_by is Kind.CANCELLED
