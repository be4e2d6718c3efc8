"""Each cell of the README's table of providers, tried: what it says goes is answered, what it says does not is refused.

The call is the one that the preset's own rules make, sent over real sockets to the simulator, which speaks every wire;
only the address and the key are the simulator's. Whether a single model does what its provider can is the provider's to
say.
"""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bucketline.catalog import PRESETS, Route
from bucketline.failure import Failure, Kind
from bucketline.request import Form
from scripts.provider_table import TESTS, Cell, cells
from tests.conformance.providers.official import judge_answer
from tests.integration.simulated import KEY, alpha, config_of
from worker.providers import Answer, Call, Reply, adapter_for
from worker.simulator import ModelConfig, Prices, Simulator
from worker.transport import Transport

ROOT = Path(__file__).parents[3]
CELLS = cells()
_VERSIONS = {"openai": "/v1"}


@pytest.fixture(scope="module")
def everything() -> Any:
    """A configuration whose one provider has every model that the table asks about."""
    names = {cell.route.model for cell in CELLS}
    return config_of(models={name: ModelConfig(Prices("1.00", "3.00")) for name in names})


@pytest.fixture
async def simulator(everything: Any) -> AsyncIterator[Simulator]:
    async with Simulator(everything) as running:
        yield running


def at(simulator: Simulator, route: Route) -> Route:
    """The cell's route, to the simulator instead of the provider."""
    base_url = simulator.root_url("alpha") + _VERSIONS.get(route.provider.wire, "")
    return replace(route, provider=replace(route.provider, base_url=base_url))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.preset}-{cell.column}")
async def test_a_cell_of_the_table_is_so(simulator: Simulator, cell: Cell) -> None:
    route, adapter = at(simulator, cell.route), adapter_for(cell.route.provider.wire)
    call = adapter.call(cell.request, route, KEY)
    if not cell.can:
        assert isinstance(call, Failure)
        assert call.kind is Kind.INEXPRESSIBLE
        assert adapter.refused(cell.request, route), "refused at submit, by name"
        return
    assert isinstance(call, Call), call
    transport = Transport()
    try:
        reply = await transport.send(call, route.provider, 20)
    finally:
        await transport.close()
    assert isinstance(reply, Reply), reply
    result = adapter.read(reply, cell.request, route, key=KEY)
    assert isinstance(result, Answer), result
    body = json.loads(result.body)
    judge_answer(cell.request.form, body)
    if cell.request.form is Form.CHAT:
        shows(cell, call, body["choices"][0]["message"])
    if call.stream and b"include_usage" not in call.body and cell.preset == "mistral":
        return  # it refuses to be asked for counts and sends them all the same; the simulator wants to be asked
    assert result.usage is not None
    assert result.usage.input_tokens == alpha(simulator)["usage"]["input_tokens"]


def shows(cell: Cell, call: Call, message: dict[str, Any]) -> None:
    """Hold an answer against what its line asked for."""
    match cell.column:
        case "tools":
            assert message["tool_calls"][0]["function"]["name"] == "weather"
        case "JSON schema":
            assert "city" in json.loads(message["content"])
        case "streamed":
            assert call.stream
            assert message["content"]
        case _:
            assert message["content"]


def test_every_column_of_the_table_is_tried_and_every_preset_has_its_row() -> None:
    """A column without a test would be a claim; so would a test that no longer exists."""
    assert [cell.preset for cell in CELLS] == [name for name in PRESETS for _ in range(len(TESTS) - 1)]
    for test in set(TESTS.values()):
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
