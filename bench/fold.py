"""How much memory and time the bill of a large batch takes: parts written, merged, folded, verified.

    python -m bench.fold [LINES]          default: 1,000,000

Prints one JSON document: seconds and peak resident memory after each step, each step in a process of its own. Makes
its batch in a temporary folder (1.2 GB for a million lines) with the product's own parts, merge and manifest.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

NOW_S = 1_795_000_000.0
SHARD_LINES = 400
BATCH = "batch_fold"
SETTINGS = {
    "providers": {name: {"base_url": "http://127.0.0.1:9/v1"} for name in ("alpha", "beta")},
    "prices": {"alpha/small": {"input": "1.00", "cached_input": "0.25", "output": "3.00"}},
}


def main(lines: int) -> dict[str, Any]:
    """Run the steps; seconds and peak MB of each."""
    steps: dict[str, Any] = {"lines": lines}
    with tempfile.TemporaryDirectory(prefix="bucketline-fold-") as folder:
        for step in (write, fold, check):
            steps[step.__name__] = _measured(step, folder, lines)
    return steps


def _measured(step: Callable[[str, int], Awaitable[dict[str, Any]]], folder: str, lines: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")  # a fork would begin with this process's memory
    with context.Pool(1) as pool:
        return pool.apply(_run, (step, folder, lines))


def _run(step: Callable[[str, int], Awaitable[dict[str, Any]]], folder: str, lines: int) -> dict[str, Any]:
    began = time.monotonic()
    result = asyncio.run(step(folder, lines))  # type: ignore[arg-type]
    peak_mb = _peak_kb() // 1024
    return {"seconds": round(time.monotonic() - began, 1), "peak_mb": peak_mb, **result}


def _peak_kb() -> int:
    """The peak of this process alone: ``getrusage`` begins with the peak of the process that started it."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def write(folder: str, lines: int) -> dict[str, Any]:
    """Input, parts and ``batch.json``, shard by shard."""
    from bucketline.batch import BatchDocument
    from bucketline.layout import batch_document, input_object, part_object
    from bucketline.outcome import encode_outcome
    from bucketline.part import Entry, encode_part
    from bucketline.store import open_store
    from bucketline.tally import Tally

    store = open_store(folder)
    make = _outcomes()
    digest, size, shards = hashlib.sha256(), 0, []
    async with store.writer(input_object(BATCH)) as writer:
        for number, first in enumerate(range(1, lines + 1, SHARD_LINES)):
            here = range(first, min(lines + 1, first + SHARD_LINES))
            data = b"".join(b'{"custom_id":%d,"body":{"model":"small","messages":[]}}\n' % line for line in here)
            digest.update(data)
            shards.append((first, size, len(data), len(here)))
            size += len(data)
            await writer.write(data)
            tally, entries = Tally(), []
            for line in here:
                outcome = make(line)
                tally.add(outcome)
                entries.append(Entry(line, outcome.ok, encode_outcome(BATCH, outcome)))
            await store.put(part_object(BATCH, number, 1, 0), encode_part(number, 1, entries, tally.document()))
    document = BatchDocument(
        id=BATCH,
        source="fold.jsonl",
        created_s=NOW_S,
        lines=lines,
        rejected=0,
        last_line=lines,
        input_bytes=size,
        input_sha256=digest.hexdigest(),
        shards=shards,
    )
    await store.put(batch_document(BATCH), document.model_dump_json().encode())
    await store.close()
    return {"parts": len(shards)}


async def fold(folder: str, lines: int) -> dict[str, Any]:
    """Merge the parts and write the manifest."""
    from bucketline.batch import BatchDocument, State
    from bucketline.bill import build_manifest
    from bucketline.layout import batch_document, manifest_object
    from bucketline.manifest import FileFacts
    from bucketline.store import open_store
    from worker.merge import merge

    store = open_store(folder)
    document = BatchDocument.model_validate_json(await store.get(batch_document(BATCH)))
    merged = await merge(store, document)
    files = {
        name: FileFacts(lines=one.lines, bytes=one.size_bytes, sha256=one.sha256)
        for name, one in (("output.jsonl", merged.output), ("errors.jsonl", merged.errors))
    }
    files["input.jsonl"] = FileFacts(lines=lines, bytes=document.input_bytes, sha256=document.input_sha256)
    book, catalog = _prices()
    manifest = build_manifest(
        document, merged.tally, status=State.COMPLETED, finished_s=NOW_S + 1, files=files, book=book, catalog=catalog
    )
    await store.put(manifest_object(BATCH), manifest.encode())
    await store.close()
    return {"cost_usd": manifest.cost.usd, "completed": manifest.counts.completed}


async def check(folder: str, lines: int) -> dict[str, Any]:
    """Derive it all again."""
    from bucketline.store import open_store
    from producer.verify import verify

    store = open_store(folder)
    report = await verify(store, BATCH)
    await store.close()
    assert report.lines == lines, report.document()
    return {"ok": report.ok, "parts": report.parts}


def _prices() -> tuple[Any, Any]:
    from bucketline.catalog import Catalog
    from bucketline.prices import PriceBook
    from bucketline.settings import Settings

    settings = Settings.model_validate(SETTINGS)
    return PriceBook(settings), Catalog(settings)


def _outcomes() -> Callable[[int], Any]:
    """Line → outcome: nine of ten answered, the rest failed for nothing; a few thousand different latencies."""
    from bucketline.catalog import Route
    from bucketline.failure import Billed, Code
    from bucketline.outcome import Attempt, Cost, Outcome
    from bucketline.usage import Usage

    book, catalog = _prices()
    route = Route(catalog.provider("alpha"), "small")

    def make(line: int) -> Outcome:
        usage = Usage(input_tokens=100 + line % 97, cached_input_tokens=line % 89, output_tokens=20 + line % 83)
        latency_s = 0.2 + (line * 7919 % 5003) / 1000
        body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}' % (b"word " * 20)
        if line % 10 == 0:
            failed = Attempt("alpha", "small", "server_error", 500, NOW_S, latency_s, None, Cost(), Billed.NO)
            return Outcome(
                line, line, "small", Code.PROVIDER_5XX, "The provider failed on its side.", (failed,), 500, "", b"{}"
            )
        cost = book.cost(route, served_model="small", usage=usage, when_s=NOW_S)
        answered = Attempt("alpha", "small", "ok", 200, NOW_S, latency_s, usage, cost, Billed.YES, None, "small")
        return Outcome(line, line, "small", None, None, (answered,), 200, "", body, "stop", "small", usage)

    return make


if __name__ == "__main__":
    print(
        json.dumps(
            main(int(sys.argv[1].replace(",", "").replace("_", "")) if len(sys.argv) > 1 else 1_000_000), indent=2
        )
    )
