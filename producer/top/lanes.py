"""Accounts and routes, each with what limits it and how it does: scopes, circuits and measurements brought together.

Comes in: a snapshot. Goes out: a ``Lane`` for each account of a provider, followed by its routes. An account has limits and
perhaps a circuit; a route has measurements, a circuit, and limits of its own where its model has some. Pure; called by
``views``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bucketline.figures import seconds_in_words
from bucketline.gauge import Gauge
from bucketline.measured import Measured
from producer.monitor import Snapshot

__all__ = ["Lane", "providers"]


@dataclass(frozen=True, slots=True)
class Lane:
    """One account or one route. ``limits`` are name and share in use, the tightest first."""

    name: str
    label: str
    is_account: bool
    limits: Sequence[tuple[str, float]]
    in_flight: int | None
    waiting: int
    next_s: float | None
    state: str
    closed: bool
    paused: bool
    measured: Measured | None
    last_error: str


def providers(snapshot: Snapshot) -> list[Lane]:
    """Accounts in order of their names, each with its routes."""
    names = {*snapshot.gauges, *snapshot.routes, *(route.partition("/")[0] for route in snapshot.routes)}
    waiting: Counter[str] = Counter()
    tokens: dict[str, tuple[str, int]] = {}
    for worker in snapshot.workers:
        for hold in worker.holds:
            if hold.reason != "money":
                waiting[hold.scope] += hold.waiting
                tokens[hold.scope] = (hold.reason, hold.next_tokens)
    return [
        _lane(name, snapshot, waiting[name], tokens.get(name))
        for name in sorted(names, key=lambda name: name.split("/"))
        if not name.startswith("~")
    ]


def _lane(name: str, snapshot: Snapshot, waiting: int, held: tuple[str, int] | None) -> Lane:
    gauge = snapshot.gauges.get(name)
    provider, _, model = name.partition("/")
    state, closed, paused = _state(name, gauge, snapshot)
    limits = (
        []
        if gauge is None
        else [(limit.figure.replace("concurrency", "flying"), limit.share) for limit in gauge.limits]
    )
    return Lane(
        name=name,
        label=f"  {model}" if model else provider,
        is_account=not model,
        limits=sorted(limits, key=lambda pair: -pair[1]),
        in_flight=None if gauge is None else gauge.in_flight,
        waiting=waiting,
        next_s=_next_s(gauge, held, snapshot.at_s),
        state=state,
        closed=closed,
        paused=paused,
        measured=snapshot.measured.get(name),
        last_error=_last_error(name, snapshot),
    )


def _state(name: str, gauge: Gauge | None, snapshot: Snapshot) -> tuple[str, bool, bool]:
    """A word, whether calls may not pass, whether they may not for a moment only."""
    circuit = snapshot.circuits.get(name) or snapshot.circuits.get(name.partition("/")[0])
    if circuit is not None:
        word = "probing" if circuit.probing else "closed"
        if circuit.until_s is not None and not circuit.probing:
            word = f"shut {seconds_in_words(max(0.0, circuit.until_s - snapshot.at_s))}"
        return word, True, False
    if gauge is not None and gauge.paused_until_s is not None:
        return f"wait {seconds_in_words(gauge.paused_until_s - snapshot.at_s)}", False, True
    if gauge is not None and any(limit.figure in ("rpd", "tpd") and limit.share >= 1 for limit in gauge.limits):
        return "day full", False, True
    return "open", False, False


def _next_s(gauge: Gauge | None, held: tuple[str, int] | None, now_s: float) -> float | None:
    """About when the next of those who wait may go; None where nobody waits."""
    if gauge is None or held is None:
        return None
    reason, tokens = held
    if gauge.paused_until_s is not None:
        return gauge.paused_until_s - now_s
    if reason.endswith("_day"):
        return None if gauge.day_resets_s is None else gauge.day_resets_s - now_s
    limit = gauge.limit(reason)
    return 0.0 if limit is None else limit.ready_in_s(1 if reason == "requests" else tokens)


def _last_error(name: str, snapshot: Snapshot) -> str:
    found = [one for worker in snapshot.workers for one in worker.troubles if one.route == name]
    if not found:
        return ""
    last = max(found, key=lambda one: one.last_s)
    return f"{last.kind.replace('_', ' ')}, {seconds_in_words(max(0.0, snapshot.at_s - last.last_s))} ago"
