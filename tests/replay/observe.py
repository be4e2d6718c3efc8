"""All that was seen of one case, as items by the names that the asserts use.

Comes in: the stage after its last step, and what the product shows. Goes out: the items; where the case did not come
to its end, those that there are. Looks before anything is ended, so that a worker still alive counts as alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.replay.child import Child
from tests.replay.steps import Stage

__all__ = ["items_of"]

_TRACE = "Traceback (most recent call last)"


async def items_of(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    """Every item of the case."""
    inputs: dict[str, list[bytes]] = {}
    for put in stage.puts:
        inputs[put.key] = put.data.split(b"\n")  # where a key was put twice, the whole of the last counts
    shown = await stage.product.collect(stage.batches, inputs)
    return {
        "rows": shown.rows,
        "manifest": shown.manifest,
        "batches": shown.batches,
        "files": shown.files,
        "calls": [call.item() for call in stage.calls],
        "cli": stage.samples,
        "workers": [_worker_item(worker, place in stage.killed) for place, worker in enumerate(stage.workers)],
        "time": [_times(stage.marks, stage.premature_s, still=stage.premature, now=stage.now())],
    }


def _worker_item(worker: Child, killed: bool) -> dict[str, Any]:
    code = worker.exit
    trace = any(line.startswith(_TRACE) for text in worker.said() for line in text.splitlines())
    item = {
        "alive": code is None,
        "exit": code,
        "crashed": not killed and ((code is not None and code != 0) or trace),
        "rss_mb_max": worker.rss_mb_max,
    }
    return {name: value for name, value in item.items() if value is not None}


def _times(marks: Mapping[str, float], premature_s: float, still: Mapping[str, float], now: float) -> dict[str, Any]:
    """Spans between marks, those that came to be; a batch still without its files counts up to now."""
    item: dict[str, Any] = {
        "completed_seen_before_results_s": max([premature_s, *(now - since for since in still.values())])
    }
    end = marks.get("terminal")
    spans = {"to_terminal_s": "first_start", "restart_to_terminal_s": "last_start", "cancel_to_terminal_s": "cancel"}
    for name, mark in spans.items():
        if end is not None and mark in marks:
            item[name] = round(end - marks[mark], 3)
    return item
