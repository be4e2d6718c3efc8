"""A batch's budget, kept by the gate: no call leaves that the batch may not be able to pay for.

Comes in: an open batch, and what the ledger says it has spent. Goes out: the gate reserves each call's likely cost from now
on, fleet-wide and in the admission script, and puts the fact in its place afterwards. Called by ``shard`` for each shard,
so that a Redis that lost the figure has it again.

The bound: money is reserved before a call leaves, so what is spent never exceeds the budget by more than the calls in flight
at that moment cost beyond their reservations. A reservation is the price of the likely tokens: the input as estimated and
the 95th percentile of the output, never more than the request's own cap.
"""

from __future__ import annotations

from bucketline.batch import BatchDocument
from bucketline.ledger import Ledger
from bucketline.money import nano_from_usd
from worker.limiter import Gate

__all__ = ["open_budget"]


async def open_budget(gate: Gate, ledger: Ledger, document: BatchDocument) -> None:
    """Put a batch's budget in force; nothing for a batch without one. Raises RedisError."""
    most = document.options.max_usd
    if most is None:
        return
    progress = await ledger.progress(document.id)
    spent = 0 if progress is None else progress.nanousd
    await gate.set_budget(document.id, nano_from_usd(most), spent_nanousd=spent)
