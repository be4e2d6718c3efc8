"""What an operator may do to a batch: cancel it, pause it, let it go on.

Comes in: a batch id. Goes out: the order in the store, so that it outlives Redis, then a mark in the ledger, which every
worker sees within a second; cancelled batches keep what was answered. Called by the commands, the client and the HTTP door. Raises BatchNotFound where there is no such batch.
"""

from __future__ import annotations

import orjson

from bucketline.batch import TERMINAL, Progress, State
from bucketline.errors import UsageError
from bucketline.layout import orders_object
from bucketline.ledger import Ledger
from bucketline.store import NotFound, Store
from producer.watch import progress_of

__all__ = ["cancel", "pause", "resume"]


async def cancel(batch_id: str, ledger: Ledger, store: Store, *, keep_in_flight: bool = False) -> State:
    """End a batch; the state it is in then. One that is over stays as it is. ``keep_in_flight``: sent calls may land."""
    progress = await _open(batch_id, ledger, store)
    if progress.state in TERMINAL:
        return progress.state
    fields = {"keep_in_flight": "1"} if keep_in_flight else {}
    await _order(store, batch_id, cancelled=True, keep_in_flight=keep_in_flight)
    return await ledger.move(batch_id, State.CANCELLING, **fields)


async def pause(batch_id: str, ledger: Ledger, store: Store) -> None:
    """Send no new calls of a batch until it is resumed. Raises UsageError when it is over, or about to be."""
    await _set_paused(batch_id, ledger, store, paused=True)


async def resume(batch_id: str, ledger: Ledger, store: Store) -> None:
    """Let a paused batch go on. Raises UsageError when it is over, or about to be."""
    await _set_paused(batch_id, ledger, store, paused=False)


async def _set_paused(batch_id: str, ledger: Ledger, store: Store, *, paused: bool) -> None:
    progress = await _open(batch_id, ledger, store)
    if progress.state in TERMINAL or progress.state in (State.CANCELLING, State.FINALIZING):
        raise UsageError(f"{batch_id} is {progress.state}; there is nothing left to {'pause' if paused else 'resume'}.")
    await _order(store, batch_id, paused=paused)
    await ledger.set_field(batch_id, paused="1" if paused else "0")


async def _order(store: Store, batch_id: str, **orders: bool) -> None:
    """Add to what the store says is wanted of a batch; a Redis that forgets it is told again."""
    key = orders_object(batch_id)
    try:
        before = orjson.loads(await store.get(key))
    except (NotFound, ValueError):
        before = {}
    await store.put(key, orjson.dumps({**before, **orders}))


async def _open(batch_id: str, ledger: Ledger, store: Store) -> Progress:
    """Raises UsageError for a batch that only the store knows: nothing would read the mark."""
    progress = await progress_of(batch_id, ledger, store)
    if progress.state not in TERMINAL and await ledger.progress(batch_id) is None:
        raise UsageError(f"{batch_id} is not in Redis yet; start a worker, which takes it up, and try again.")
    return progress
