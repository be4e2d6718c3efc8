"""What a process has open counts from the moment it takes a shard up, not from when the store has answered."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from bucketline.queue import Ticket
from worker.shard import ShardRunner


async def test_a_shard_that_is_being_opened_takes_room() -> None:
    """A slow store would else let a process take up several times what it can work on, and others idle."""
    asked, forever = asyncio.Event(), asyncio.Event()

    async def renew(*_: object) -> None:
        asked.set()
        await forever.wait()

    def nothing(*_: object) -> None:
        pass

    names = set(ShardRunner.__dataclass_fields__) - {"open", "ward", "traces"}
    parts: dict[str, Any] = {name: SimpleNamespace() for name in names}
    parts |= {
        "worker_id": "me",
        "ledger": SimpleNamespace(renew=renew),
        "sealer": SimpleNamespace(forget=nothing),
        "settings": SimpleNamespace(lease_s=15.0),
        "stopping": asyncio.Event(),
    }
    runner = ShardRunner(**cast("Any", parts))
    running = asyncio.create_task(runner.run(Ticket("batch_a", 3, 76, 0, 1000, 25)))
    await asked.wait()
    assert runner.open_lines == 25
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert runner.open_lines == 0
