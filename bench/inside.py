"""Single steps of ours, timed inside a process of their own.

    python -m bench.inside read FILE                  read and parse every line, nothing else
    python -m bench.inside submit FILE CONFIG         check, store and queue a file
    python -m bench.inside merge CONFIG BATCH         merge the parts of a finished batch again, with its manifest

Prints one JSON document: seconds of the step on the wall, of CPU, and of CPU in the thread of the event loop alone (imports
left out), bytes, and the unix time of its end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson

from bench.bare import used_s
from bucketline.batch import BatchDocument, BatchOptions, State
from bucketline.bill import build_manifest
from bucketline.catalog import Catalog
from bucketline.connect import connect_redis
from bucketline.layout import batch_document, manifest_copy
from bucketline.manifest import FileFacts
from bucketline.prices import PriceBook
from bucketline.settings import load_settings
from bucketline.store import open_store
from producer.expressible import refusal
from producer.intake import submit as intake
from worker.merge import merge as merge_all

BLOCK_BYTES = 1 << 20


async def read(source: str) -> int:  # a step like the others
    size = 0
    rest = b""
    with Path(source).open("rb") as file:  # noqa: ASYNC230  # nothing else runs
        while block := file.read(BLOCK_BYTES):
            size += len(block)
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                orjson.loads(line)
    return size


async def submit(source: str, config: str) -> int:
    settings = load_settings(config)
    store, redis = open_store(str(settings.store)), await connect_redis(str(settings.redis_url))
    await intake(source, store, redis, settings, BatchOptions())
    await store.close()
    await redis.aclose()
    return 0


async def merge(config: str, batch_id: str) -> int:
    settings = load_settings(config)
    store = open_store(str(settings.store))
    document = BatchDocument.model_validate_json(await store.get(batch_document(batch_id)))
    merged = await merge_all(store, document)
    files = {
        name: FileFacts(lines=one.lines, bytes=one.size_bytes, sha256=one.sha256)
        for name, one in (("output.jsonl", merged.output), ("errors.jsonl", merged.errors))
    }
    files["input.jsonl"] = FileFacts(lines=document.lines, bytes=document.input_bytes, sha256=document.input_sha256)
    manifest = build_manifest(
        document,
        merged.tally,
        status=State.COMPLETED,
        finished_s=time.time(),
        files=files,
        book=PriceBook(settings),
        catalog=Catalog(settings),
    )
    await store.put(manifest_copy("again", batch_id), manifest.encode())
    await store.close()
    return merged.output.size_bytes + merged.errors.size_bytes


def main() -> None:
    steps: dict[str, Callable[..., Awaitable[int]]] = {"read": read, "submit": submit, "merge": merge}
    step, *arguments = sys.argv[1:]
    refusal()  # what is imported when it is first asked for
    cpu, wall, thread = used_s(), time.monotonic(), time.thread_time()
    size = asyncio.run(steps[step](*arguments))  # type: ignore[arg-type]
    said = {"cpu_s": used_s() - cpu, "thread_s": time.thread_time() - thread, "wall_s": time.monotonic() - wall}
    print(json.dumps({**said, "bytes": size, "ended_unix_s": time.time()}))


if __name__ == "__main__":
    main()
