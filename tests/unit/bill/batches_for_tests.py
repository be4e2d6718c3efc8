"""A finished batch in a store, made with the product's own parts, merge and manifest, without a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from bucketline.batch import BatchDocument, BatchOptions, State
from bucketline.bill import build_manifest
from bucketline.failure import Billed, Code
from bucketline.layout import batch_document, input_object, manifest_object, part_object, rejects_object
from bucketline.manifest import FileFacts, Manifest
from bucketline.outcome import Attempt, Cost, Outcome, encode_outcome
from bucketline.part import Entry, encode_part
from bucketline.store import Store
from bucketline.tally import Tally
from bucketline.usage import Usage
from tests.unit.bill.prices_for_tests import NOW_S, World
from worker.merge import merge

WORLD = World(
    {
        "alpha/small": {"input": "1.00", "cached_input": "0.25", "output": "3.00"},
        "beta/large": {"input": "2.00", "output": "6.00"},
    }
)


def outcome(line: int, world: World = WORLD) -> Outcome:
    """One of a few kinds of lines, by its number: most answered, some after a retry, some failed, some without usage."""
    small, large = world.route("alpha/small"), world.route("beta/large")
    usage = Usage(input_tokens=100 + line % 7, cached_input_tokens=line % 5, output_tokens=10 + line % 11)

    def call(route: object, kind: str = "ok", of: Usage | None = usage, billed: Billed = Billed.YES) -> Attempt:
        cost = Cost()
        if billed is Billed.YES:
            cost = world.book.cost(route, served_model=None, usage=of, when_s=NOW_S)  # type: ignore[arg-type]
        name, model = route.name.split("/")  # type: ignore[attr-defined]
        return Attempt(name, model, kind, 200, NOW_S, 0.1 + line % 13 / 10, of, cost, billed)

    tried: tuple[Attempt, ...] = (call(small),)
    code = None
    if line % 10 == 3:
        tried = (call(small, "server_error", None, Billed.NO), call(large))
    elif line % 10 == 6:
        tried, code = (call(small, "refusal"),), Code.CONTENT_FILTER
    elif line % 50 == 9:
        tried = (call(small, of=None),)
    body = b'{"choices":[{"message":{"content":"answer %d"}}]}' % line
    last = tried[-1]
    return Outcome(
        line, f"r-{line}", "small", code, "It failed." if code else None, tried, 200, "", body, "stop", None, last.usage
    )


async def write_part(
    store: Store, batch_id: str, shard: int, outcomes: Iterable[Outcome], *, generation: int = 1, sequence: int = 0
) -> str:
    """Seal lines as the worker does; the part's key."""
    tally, entries = Tally(), []
    for line in outcomes:
        tally.add(line)
        entries.append(Entry(line.line, line.ok, encode_outcome(batch_id, line)))
    key = part_object(batch_id, shard, generation, sequence)
    await store.put(key, encode_part(shard, generation, entries, tally.document()))
    return key


async def write_batch(
    store: Store,
    batch_id: str = "batch_1",
    *,
    shards: Sequence[int] = (30, 30, 40),
    rejected: frozenset[int] = frozenset(),
    metadata: dict[str, str] | None = None,
    created_s: float = NOW_S,
) -> BatchDocument:
    """Input, refused lines, parts and ``batch.json`` of a batch whose shards hold so many lines each."""
    total = sum(shards)
    data = b"".join(b'{"custom_id":"r-%d","body":{"model":"small","messages":[]}}\n' % n for n in range(1, total + 1))
    await store.put(input_object(batch_id), data)
    places, first = [], 1
    for number, lines in enumerate(shards):
        here = range(first, first + lines)
        places.append((first, 0, 0, lines))
        await write_part(store, batch_id, number, (outcome(line) for line in here if line not in rejected))
        first += lines
    if rejected:
        refused = (Outcome(n, None, "", Code.INVALID_INPUT, "No JSON.", ()) for n in sorted(rejected))
        await store.put(rejects_object(batch_id), b"".join(encode_outcome(batch_id, one) + b"\n" for one in refused))
    document = BatchDocument(
        id=batch_id,
        source="inbox/x.jsonl",
        created_s=created_s,
        options=BatchOptions(metadata=metadata or {}),
        lines=total,
        rejected=len(rejected),
        last_line=total,
        input_bytes=len(data),
        input_sha256=hashlib.sha256(data).hexdigest(),
        shards=places,
    )
    await store.put(batch_document(batch_id), document.model_dump_json().encode())
    return document


async def finish(store: Store, document: BatchDocument, world: World = WORLD) -> Manifest:
    """Merge and write the manifest."""
    merged = await merge(store, document)
    files = {
        name: FileFacts(lines=digest.lines, bytes=digest.size_bytes, sha256=digest.sha256)
        for name, digest in (("output.jsonl", merged.output), ("errors.jsonl", merged.errors))
    }
    files["input.jsonl"] = FileFacts(lines=document.lines, bytes=document.input_bytes, sha256=document.input_sha256)
    manifest = build_manifest(
        document,
        merged.tally,
        status=State.COMPLETED,
        finished_s=document.created_s + 60,
        files=files,
        book=world.book,
        catalog=world.catalog,
    )
    await store.put(manifest_object(document.id), manifest.encode())
    return manifest
