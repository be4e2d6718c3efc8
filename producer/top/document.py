"""The monitor's figures as a document, for programs.

Comes in: a snapshot. Goes out: the document that ``top --json`` prints.
"""

from __future__ import annotations

from typing import Any

from producer.monitor import Snapshot
from producer.timeleft import left_s
from producer.top.lanes import providers
from producer.top.views import headline

__all__ = ["document"]


def document(snapshot: Snapshot) -> dict[str, Any]:
    """What ``top --json`` prints: the same figures, unrounded."""
    return {
        "at": snapshot.at_s,
        "head": list(headline(snapshot)),
        "queue": {
            "shards": snapshot.tickets,
            "lines_left": snapshot.left_lines,
            "lines_open": snapshot.open_lines,
            "in_flight": snapshot.in_flight,
        },
        "batches": [
            {
                **batch.document(),
                "lines_per_s": round(rate := snapshot.lines_per_s(batch.id), 2),
                "left_s": None if batch.finished_s is not None else left_s(batch, snapshot, rate),
            }
            for batch in snapshot.batches
        ],
        "providers": [
            {
                "name": lane.name,
                "limits": dict(lane.limits),
                "waiting": lane.waiting,
                "next_s": lane.next_s,
                "state": lane.state,
                "latency_p50_s": lane.measured.p50_s if lane.measured else None,
                "latency_p95_s": lane.measured.p95_s if lane.measured else None,
                "success_rate": lane.measured.success if lane.measured else None,
                "last_error": lane.last_error or None,
            }
            for lane in providers(snapshot)
        ],
        "workers": [
            {
                "id": sign.worker_id,
                "seen_s_ago": round(max(0.0, snapshot.at_s - sign.seen_s), 1),
                "in_flight": sign.in_flight,
                "open_lines": sign.open_lines,
                "open_shards": sign.open_shards,
                "cpu": sign.cpu,
                "memory_bytes": sign.memory_bytes,
                "loop_lag_s": sign.lag_s,
            }
            for sign in snapshot.workers
        ],
    }
