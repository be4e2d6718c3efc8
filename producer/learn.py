"""What earlier batches of a model teach about the next one.

Comes in: a store and a route's name, ``provider/model``. Goes out: ``Learnt``: a ``Reading`` fitted to what the provider
counted for some hundred answered lines of the newest batches, and how often calls were answered. Reads the beginnings
of a few ``output.jsonl`` and ``input.jsonl``, never a whole one. Called by ``estimate``; a store without such batches
teaches nothing, and that is no error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bucketline.jsonl import records, records_of
from bucketline.layout import input_object, output_object
from bucketline.manifest import Manifest
from bucketline.request import Request, read_request
from bucketline.splice import loads
from bucketline.store import NotFound, Store
from bucketline.usage import Usage
from producer.manifests import manifest_keys, manifests
from producer.weigh import Reading, Sample, fit, weigh

__all__ = ["Learnt", "learn"]

_MANIFESTS = 200  #: the newest ones that are looked through
_BATCHES = 3  #: of a route, that are sampled
_SAMPLE_BYTES = 512 * 1024  #: of output, and four times as much of input, that are read of each


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known of a route; ``batches`` are the ids it comes from."""

    reading: Reading
    batches: tuple[str, ...] = ()
    success_rate: float | None = None  #: answered calls among those sent, where a batch used no other route


async def learn(store: Store, routes: set[str]) -> dict[str, Learnt]:
    """What the newest batches teach about each of these routes; those nobody has used are left out."""
    wanted = dict.fromkeys(routes, _BATCHES)
    samples: dict[str, list[Sample]] = {route: [] for route in routes}
    seen: dict[str, list[Manifest]] = {route: [] for route in routes}
    keys = (await manifest_keys(store))[-_MANIFESTS:]
    async for manifest in manifests(store, keys[::-1]):
        here = {f"{row.provider}/{row.model}" for row in manifest.cost.by_route if row.requests}
        useful = {route for route in here if wanted.get(route)}
        if useful:
            for route, found in (await _samples(store, manifest.id, useful)).items():
                samples[route].extend(found)
                seen[route].append(manifest)
                wanted[route] -= 1
        if not any(wanted.values()):
            break
    return {route: _learnt(samples[route], seen[route]) for route in routes if seen[route]}


def _learnt(samples: list[Sample], seen: list[Manifest]) -> Learnt:
    alone = [one for one in seen if len({(row.provider, row.model) for row in one.cost.by_route}) == 1]
    attempts = sum(one.counts.attempts for one in alone)
    answered = sum(one.counts.completed for one in alone)
    return Learnt(
        reading=fit(samples) or Reading(),
        batches=tuple(one.id for one in seen),
        success_rate=answered / attempts if attempts else None,
    )


async def _samples(store: Store, batch_id: str, routes: set[str]) -> dict[str, list[Sample]]:
    """Answered lines from the beginning of a batch, with the requests that they answer."""
    found: dict[str, list[Sample]] = {route: [] for route in routes}
    try:
        answers = _answers(await store.get(output_object(batch_id), length=_SAMPLE_BYTES), routes)
        if not answers:
            return found
        async for request in _requests(store, batch_id, set(answers)):
            block = answers[request.line]
            usage = Usage.from_document(block["usage"])
            sample = Sample(weigh(request), usage.input_tokens, usage.output_tokens, float(block["latency_s"] or 0))
            found[f"{block['provider']}/{block['model']}"].append(sample)
    except NotFound:
        pass  # its files were taken away; its manifest still counts
    return found


def _answers(beginning: bytes, routes: set[str]) -> dict[int, dict[str, Any]]:
    """The ``bucketline`` blocks of whole lines with usage, by line number."""
    blocks = {}
    for record in records_of(beginning[: beginning.rfind(b"\n") + 1]):
        block = loads(record.raw)["bucketline"]
        if block.get("usage") and f"{block['provider']}/{block['model']}" in routes:
            blocks[block["line"]] = block
    return blocks


async def _requests(store: Store, batch_id: str, lines: set[int]) -> AsyncIterator[Request]:
    last, size = max(lines), 0
    async for record in records(store.read(input_object(batch_id))):
        size += record.size_bytes
        if record.line in lines:
            request = read_request(record.raw, record.line, "any")
            if isinstance(request, Request):
                yield request
        if record.line >= last or size > 4 * _SAMPLE_BYTES:
            return
