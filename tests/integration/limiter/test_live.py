"""Limits that an operator sets while the fleet runs: in force everywhere, and still there when all have started anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.gatekit.living import SOON_S, granted, scopes
from worker.cli import run
from worker.limiter import Demand, Gate
from worker.limiter import gate as gate_module
from worker.limiter.scopes import read_scopes, set_figures


async def test_figures_set_live_reach_open_and_limited_lanes_of_every_worker(gates: Callable[..., Gate]) -> None:
    fleet = [gates(), gates(), gates()]
    for gate in fleet:
        await gate.start()
        await granted(gate, scopes("open"), 1)
    await granted(fleet[0], scopes("alpha", concurrency=1), 1)
    waiting = [asyncio.create_task(gate.admit(scopes("alpha", concurrency=1), Demand())) for gate in fleet]
    await set_figures(fleet[0].redis, "alpha", {"concurrency": 5})
    await set_figures(fleet[0].redis, "open", {"concurrency": 3})
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(*waiting)
        while any(gate._lanes["open",].is_open for gate in fleet):
            await asyncio.sleep(0.01)
    held_back = asyncio.create_task(fleet[1].admit(scopes("open"), Demand()))
    await asyncio.sleep(0.1)
    assert not held_back.done(), "three are in flight over the fleet"
    held_back.cancel()
    shown = {state.name: state.dimensions[0].source for state in await read_scopes(fleet[0].redis)}
    assert shown == {"alpha": "set", "open": "set"}


def test_every_worker_looks_for_new_figures_within_a_second() -> None:
    """Measured time says little on a busy machine; the period is what holds."""
    assert max(gate_module._WATCH_S, gate_module._IDLE_WATCH_S) < 1.0


async def test_an_operators_figure_survives_the_start_of_every_worker(
    gates: Callable[..., Gate], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker writes its own configuration when it starts; it must not write over the operator."""
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    old = gates()
    (permit,) = await granted(old, scopes(concurrency=1), 1)
    assert await asyncio.to_thread(run, ["limits", "set", "alpha", "--concurrency", "2"]) == 0
    old.settle(permit)
    await old.close()
    new = gates()
    await granted(new, scopes(concurrency=1), 2)
    third = asyncio.create_task(new.admit(scopes(concurrency=1), Demand()))
    await asyncio.sleep(0.1)
    assert not third.done()
    third.cancel()
