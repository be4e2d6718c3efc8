"""Equal lines after their worker's death: nobody waits for a line that waits for him."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from bucketline import keys
from bucketline.batch import BatchDocument, BatchOptions
from bucketline.layout import batch_document
from bucketline.outcome import Outcome
from bucketline.queue import mark_of
from bucketline.request import Request, read_request
from tests.integration.line.weathered import a_scene
from worker.same import content_key


async def test_a_line_whose_shard_came_to_the_process_of_its_equal_is_not_waited_for(tmp_path: Path) -> None:
    """The equal waited for it in another process; that one died and the shard came here, its lease with it."""
    async with a_scene(tmp_path) as scene:
        engine = await scene.start()
        batch_id = await scene.submit(2, dedupe=True)
        document = BatchDocument.model_validate_json(await scene.store.get(batch_document(batch_id)))
        document = document.model_copy(update={"id": "batch_other", "options": BatchOptions(dedupe=True)})
        dedupe = engine.runner.dedupe
        raw = (await scene.store.get(f"batches/{batch_id}/input.jsonl")).split(b"\n")[0]
        first = read_request(raw, 1, None)
        assert isinstance(first, Request)
        second = replace(first, line=2)
        sent: list[int] = []

        async def send(line: int) -> Outcome:
            sent.append(line)
            return Outcome(line, f"l{line}", "m", None, None, (), status=200, body=b'{"choices":[]}')

        # The dead worker's line 1 stands for its equals, and its shard's lease is held again: by this process.
        async with scene.client() as redis:
            share = int.from_bytes(content_key(first)[:4]) % (1 + document.lines // 100)
            await redis.hset(keys.batch_same(document.id, share), content_key(first), 1)  # type: ignore[misc]
            await redis.set(mark_of(keys.shard_job_id(document.id, 0)), engine.worker_id, px=60_000)
        waits = asyncio.create_task(dedupe.outcome(second, document, lambda: send(2)))
        await asyncio.sleep(0.2)
        comes = asyncio.create_task(dedupe.outcome(first, document, lambda: send(1)))
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(waits, comes)
        assert len(sent) == 1
        assert [outcome.ok for outcome in outcomes] == [True, True]
