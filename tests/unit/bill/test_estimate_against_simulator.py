"""Estimates of real batch files against what the simulator then counts and bills.

The simulator's books are kept without a glance at ours: its wires read the body, its rule turns it into tokens.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bucketline.failure import Billed
from bucketline.jsonl import records_of
from bucketline.layout import batch_document, input_object, manifest_copy
from bucketline.outcome import Attempt, Outcome
from bucketline.request import Form, Request, read_request
from bucketline.store import Store, open_store
from bucketline.usage import Usage
from producer.estimate import estimate
from tests.unit.bill.batches_for_tests import finish, write_batch, write_part
from tests.unit.bill.prices_for_tests import NOW_S, World
from worker.simulator.reading import tokens_of
from worker.simulator.wires.anthropic import Messages
from worker.simulator.wires.chat import Chat
from worker.simulator.wires.responses import Responses

REALDATA = Path(__file__).parents[2] / "realdata"
FILES = {
    "batchlocallm_synthetic_100.jsonl": "google/gemma-3-4b-it",
    "openai_cookbook_responses_batch.jsonl": "gpt-5.4-nano",
    "anthropic_cookbook_parallel_requests.jsonl": "claude-3-5-sonnet-20240620",
}
WIRES = {Form.CHAT: Chat(), Form.RESPONSES: Responses(), Form.MESSAGES: Messages()}


def _requests(name: str) -> list[Request]:
    lines = records_of((REALDATA / name).read_bytes())
    found = [read_request(record.raw, record.line, None) for record in lines]
    return [request for request in found if isinstance(request, Request)]


def _counted(request: Request) -> int:
    """The input tokens that the simulator bills for a request."""
    return max(1, tokens_of(WIRES[request.form].read(request.params, None).input_bytes))


def _world(model: str) -> World:
    routes = [{"provider": "alpha", "model": "small"}]
    return World({"alpha/small": {"input": "1", "output": "3"}}, models={model: {"routes": routes}})


async def _one_earlier_batch(store: Store, name: str, world: World) -> None:
    """A batch of another file on the same route, answered and billed by the simulator's count."""
    requests = _requests(name)
    document = await write_batch(store, shards=(requests[-1].line,))
    raw = (REALDATA / name).read_bytes()
    route = world.route("alpha/small")
    lines = []
    for request in requests:
        usage = Usage(_counted(request), output_tokens=40)
        cost = world.book.cost(route, served_model=None, usage=usage, when_s=NOW_S)
        answered = Attempt("alpha", "small", "ok", 200, NOW_S, 0.5, usage, cost, Billed.YES)
        lines.append(Outcome(request.line, "r", "any", None, None, (answered,), 200, "", b"{}", "stop", None, usage))
    await write_part(store, document.id, 0, lines)
    await store.put(input_object(document.id), raw)
    document = document.model_copy(update={"lines": len(lines), "shards": [(1, 0, len(raw), len(lines))]})
    await store.put(batch_document(document.id), document.model_dump_json().encode())
    manifest = await finish(store, document, world)
    await store.put(manifest_copy("2026-11-18", manifest.id), manifest.encode())


@pytest.mark.parametrize("name", FILES)
async def test_input_tokens_are_within_a_quarter_before_any_batch_of_the_model(name: str) -> None:
    model, counted = FILES[name], sum(map(_counted, _requests(name)))
    found = await estimate(str(REALDATA / name), _world(model).settings, store=None, when_s=NOW_S)
    likely = found.models[model][0].input_tokens.likely
    assert abs(likely - counted) <= 0.25 * counted, (likely, counted)


@pytest.mark.parametrize("name", FILES)
async def test_input_tokens_are_within_a_tenth_after_one_batch_of_another_file(name: str, tmp_path: Path) -> None:
    store, model = open_store(str(tmp_path / "store")), FILES[name]
    world = _world(model)
    await _one_earlier_batch(store, "batchlocallm_synthetic_candidates_10.jsonl", world)
    found = await estimate(str(REALDATA / name), world.settings, store=store, when_s=NOW_S)
    (route,) = found.models[model]
    counted = sum(map(_counted, _requests(name)))
    assert route.learnt is not None
    assert abs(route.input_tokens.likely - counted) <= 0.10 * counted, (route.input_tokens, counted)
    assert route.input_tokens.low <= counted <= route.input_tokens.high
