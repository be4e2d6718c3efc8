"""What a batch waits for, in words: the reasons, each with its figures and its time.

Comes in: the batch, a snapshot of the line, and its place on the queue. Goes out: ``Cause`` records, the binding one first: what
stops the batch altogether, then what holds most of its lines. Pure: nothing is read here, and the same snapshot gives the
same words. Called by ``why`` and ``top``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from bucketline.batch import TERMINAL, Progress, State
from bucketline.circuit import Circuit
from bucketline.failure import TABLE, Kind
from bucketline.figures import clock, percent, seconds_in_words
from bucketline.gauge import Gauge, Limit
from bucketline.money import usd
from bucketline.sign import Hold, Reason
from producer.cause import Cause, Place, count, scope_name, sentence, waiting
from producer.monitor import Snapshot

__all__ = ["budget_scope", "causes"]

_SILENT_S = 10.0  #: a worker that has given no sign for so long may be gone
_STOPS = 10**12  #: ranks what stops everything before what holds lines
_KINDS = frozenset(kind.value for kind in Kind)
_MINUTE = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "input_tokens": "input tokens per minute",
    "output_tokens": "output tokens per minute",
}
_DAY = {"requests_day": "requests per day", "tokens_day": "tokens per day"}


def budget_scope(batch_id: str) -> str:
    """The gate's name for a batch's budget."""
    return f"~{batch_id}"


def causes(batch: Progress, snapshot: Snapshot, place: Place | None = None) -> list[Cause]:
    """Why the batch is not over yet, the binding reason first; never empty."""
    if batch.state in TERMINAL:
        return [Cause("over", f"It is over: {batch.state}" + (f" ({batch.reason})." if batch.reason else "."))]
    found = [
        *_stops(batch, snapshot),
        *_workers(batch, snapshot),
        *_permits(batch, snapshot),
        *_routes(batch, snapshot),
        *_backoffs(batch, snapshot),
        *_process(batch, snapshot),
        *_budget(batch, snapshot),
        *_flight(batch, snapshot),
        *_queue(batch, snapshot, place),
    ]
    found.sort(key=lambda cause: -(cause.rank or (cause.lines or 0)))
    return found or [Cause("running", "Nothing holds it up: its last lines are being recorded.")]


# ── what stops the batch as a whole ───────────────────────────────────────────────────────────────────────────────────


def _stops(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    left = batch.counts.total - batch.counts.done
    flying = _in_flight(batch, snapshot)
    if batch.state is State.CANCELLING:
        landing = f"{count(flying, 'call')} may still land" if flying else "its workers are letting go of it"
        yield Cause("cancelling", f"It is being cancelled; {landing}.", flying, rank=3 * _STOPS)
    elif batch.state is State.FINALIZING or (left == 0 and batch.waiting_shards == 0):
        yield Cause("finalizing", "All lines are done; its results are being merged.", rank=3 * _STOPS)
    elif batch.paused:
        command = f"`bucketline resume {batch.id}`"
        yield Cause("paused", f"It is paused by an operator; {command} lets it go on.", left, rank=3 * _STOPS)
    elif batch.state is State.VALIDATING:
        yield Cause("validating", "Its work is not on the queue yet; a worker takes it up.", left, rank=_STOPS)


def _workers(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    alive = [sign for sign in snapshot.workers if snapshot.at_s - sign.seen_s < max(_SILENT_S, sign.lease_s)]
    if not alive:
        yield Cause("no_workers", "No worker runs; start one with `bucketline work`.", rank=2 * _STOPS)
    for sign in snapshot.workers:
        silent_s = snapshot.at_s - sign.seen_s
        mine = sum(one.open_lines for one in sign.batches if one.batch_id == batch.id)
        if silent_s >= _SILENT_S and mine:
            free = f"another worker takes up its shards {sign.lease_s:.0f} s after its last renewal"
            words = f"Worker {sign.worker_id} has given no sign of life for {seconds_in_words(silent_s)}; {free}."
            yield Cause("silent_worker", words, mine)


# ── what holds lines ──────────────────────────────────────────────────────────────────────────────────────────────────


def _permits(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    """The limits, by the scope that has no room."""
    lines: Counter[tuple[str, str]] = Counter()
    holds: dict[tuple[str, str], list[Hold]] = defaultdict(list)
    for worker in snapshot.workers:
        of_lane = {hold.lane: hold for hold in worker.holds if hold.reason != "money"}
        for wait in worker.waits:
            if wait.batch_id == batch.id and wait.reason == Reason.PERMIT:
                hold = of_lane.get(wait.where) or Hold(wait.where, wait.where, "order", wait.lines, 0, 0.0)
                lines[hold.scope, hold.reason] += wait.lines
                holds[hold.scope, hold.reason].append(hold)
    for (scope, reason), number in lines.items():
        yield _limit(scope, reason, number, holds[scope, reason], snapshot)


def _limit(scope: str, reason: str, lines: int, holds: list[Hold], snapshot: Snapshot) -> Cause:
    """The scope that has no room, by what it is short of."""
    gauge, now_s = snapshot.gauges.get(scope) or Gauge(scope, (), 0), snapshot.at_s
    limit = gauge.limit(reason)
    if gauge.paused_until_s is not None and reason in ("paused", "order"):
        return _told_to_wait(gauge, gauge.paused_until_s, lines, now_s)
    if reason in _DAY:
        return _day_full(gauge, reason, limit, lines, now_s)
    if reason == "concurrency":
        most = f"{gauge.in_flight:,} of {limit.limit:,}" if limit else f"{gauge.in_flight:,}"
        found = ", which was found out by refusals" if limit and limit.found else ""
        words = f"calls in flight of {scope_name(scope)}: {most}{found}; {waiting(lines)}."
        return Cause("concurrency", sentence(words), lines)
    if reason in _MINUTE and limit is not None:
        tokens = max((hold.next_tokens for hold in holds), default=0)
        return _minute_full(gauge, reason, limit, tokens, lines, now_s)
    others = sum(hold.waiting for hold in holds) - lines
    where = f", where {others:,} more requests wait" if others > 0 else ""
    return Cause("order", sentence(f"others come first at {scope_name(scope)}{where}; {waiting(lines)}."), lines)


def _told_to_wait(gauge: Gauge, until_s: float, lines: int, now_s: float) -> Cause:
    why = (gauge.pause_reason or "refusal").replace("_", " ")
    until = f"until {clock(until_s, now_s)} ({seconds_in_words(until_s - now_s)} from now)"
    words = f"{scope_name(gauge.name)} is paused by its provider's {why} {until}; {waiting(lines)}."
    return Cause("paused_by_provider", sentence(words), lines, until_s)


def _day_full(gauge: Gauge, reason: str, limit: Limit | None, lines: int, now_s: float) -> Cause:
    used = f"{percent(limit.share)} of {limit.limit:,} used" if limit else "used up"
    until = f"until {clock(gauge.day_resets_s, now_s)}" if gauge.day_resets_s else "until its reset"
    parked = f"{count(lines, 'line')} parked {until} by the daily limit"
    words = f"{_DAY[reason]} of {scope_name(gauge.name)}: {used}; {parked}."
    return Cause("daily_limit", sentence(words), lines, gauge.day_resets_s)


def _minute_full(gauge: Gauge, reason: str, limit: Limit, tokens: int, lines: int, now_s: float) -> Cause:
    amount, unit = (1, "request") if reason == "requests" else (tokens, "token")
    ready_s = limit.ready_in_s(amount)
    evenly = "" if limit.share >= 0.9 else ", let through evenly"
    used = f"{percent(limit.share)} of {limit.limit:,} used{evenly}"
    words = f"{_MINUTE[reason]} of {scope_name(gauge.name)}: {used}, next {count(amount, unit)} in {ready_s:.1f} s"
    return Cause("limit", sentence(f"{words}; {waiting(lines)}."), lines, now_s + ready_s)


def _routes(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    """Closed circuits, each with the lines that have no other way."""
    lines: Counter[str] = Counter()
    for where, number in _waits(batch, snapshot, Reason.ROUTE).items():
        for route in where.split(","):
            provider = route.partition("/")[0]
            lines[provider if provider in snapshot.circuits else route] += number
    for name, number in lines.items():
        circuit = snapshot.circuits.get(name)
        if circuit is not None:
            yield _closed(circuit, number, snapshot.at_s)
        else:
            words = f"route {name} opened or shut a moment ago; {waiting(number)}."
            yield Cause("circuit", sentence(words), number)


def _closed(circuit: Circuit, lines: int, now_s: float) -> Cause:
    name = circuit.name
    kind = Kind(circuit.kind) if circuit.kind in _KINDS else None
    what = TABLE[kind].sentence.rstrip(".") if kind else "its calls keep failing"
    what = what[:1].lower() + what[1:]
    if circuit.until_s is None:
        until = f"until `bucketline resume-route {name}`"
    elif circuit.probing:
        until = "one call is trying it out now"
    elif circuit.until_s <= now_s:
        until = "the next call tries it out"
    else:
        until = f"next try at {clock(circuit.until_s, now_s)} ({seconds_in_words(circuit.until_s - now_s)} from now)"
    owner = f"route {name}" if "/" in name else f"account {name}"
    words = f"{owner} is closed: {what}; {until}; {waiting(lines)}."
    return Cause("circuit", sentence(words), lines, circuit.until_s)


def _backoffs(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    for where, lines in _waits(batch, snapshot, Reason.BACKOFF).items():
        routes = set(where.split(","))
        paused = _paused(routes, snapshot)
        if paused is not None:
            yield _limit(paused.name, "paused", lines, [], snapshot)
            continue
        kinds: Counter[str] = Counter()
        for worker in snapshot.workers:
            for trouble in worker.troubles:
                if trouble.route in routes:
                    kinds[trouble.kind] += trouble.count
        seen = ", ".join(f"{kind.replace('_', ' ')} {seen_times:,}×" for kind, seen_times in kinds.most_common(3))
        after = f" ({seen} in the last minute)" if seen else ""
        words = (
            f"{count(lines, 'line')} parked for another attempt on {where.replace(',', ', ')} after failures{after}."
        )
        yield Cause("backoff", words, lines)


def _paused(routes: set[str], snapshot: Snapshot) -> Gauge | None:
    """The scope whose provider said when to come back: the lines that were refused wait as long as all others."""
    names = [name for route in routes for name in (route.partition("/")[0], route)]
    gauges = [snapshot.gauges[name] for name in names if name in snapshot.gauges]
    return next((gauge for gauge in gauges if gauge.paused_until_s is not None), None)


def _process(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    """What the worker processes themselves have no room for."""
    lines = sum(_waits(batch, snapshot, Reason.PLACE).values())
    if lines:
        places = sum(worker.places for worker in snapshot.workers)
        words = f"every place of {count(len(snapshot.workers), 'worker')} ({places:,} in all) is taken by a call in flight; "
        words += f"{waiting(lines)} for one, with a permit (worker.concurrency, or more workers)."
        yield Cause("places", sentence(words), lines)
    lines = sum(_waits(batch, snapshot, Reason.EQUAL).values())
    if lines:
        yield Cause("equal", f"{waiting(lines)} for the answer to an equal line.", lines)
    lines = sum(_waits(batch, snapshot, Reason.MEMORY).values())
    if lines:
        words = (
            f"answers wait in memory until Redis and the store take them; {count(lines, 'line')} held back meanwhile."
        )
        yield Cause("store", sentence(words), lines)


def _budget(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    gauge = snapshot.gauges.get(budget_scope(batch.id))
    if gauge is None or gauge.budget_nanousd is None:
        return
    lines = 0
    for worker in snapshot.workers:
        lanes = {w.where: w.lines for w in worker.waits if w.batch_id == batch.id and w.reason == Reason.PERMIT}
        lines += sum(min(lanes.get(h.lane, 0), h.waiting) for h in worker.holds if h.reason == "money")
    if lines:
        words = f"${usd(gauge.spent_nanousd)} of its budget of ${usd(gauge.budget_nanousd)} are spent or reserved; "
        words += f"{waiting(lines)} for what calls in flight leave over."
        yield Cause("budget", sentence(words), lines, rank=lines + 0.5)


def _flight(batch: Progress, snapshot: Snapshot) -> Iterator[Cause]:
    flying = _in_flight(batch, snapshot)
    if flying and batch.state is not State.CANCELLING:
        known = [one.p50_s for one in snapshot.measured.values() if one.p50_s is not None]
        usual = f"; a call takes {min(known):.1f} to {max(known):.1f} s at the median" if known else ""
        if known and max(known) - min(known) < 0.1:
            usual = f"; a call takes {known[0]:.1f} s at the median"
        are = "is" if flying == 1 else "are"
        yield Cause("in_flight", f"{count(flying, 'call')} {are} on the way to the providers{usual}.", flying)


def _queue(batch: Progress, snapshot: Snapshot, place: Place | None) -> Iterator[Cause]:
    opened = sum(one.open_lines for worker in snapshot.workers for one in worker.batches if one.batch_id == batch.id)
    left = batch.counts.total - batch.counts.done - opened
    if left <= 0 or batch.state is not State.IN_PROGRESS:
        return
    room = f"{count(len(snapshot.workers), 'worker')} with {snapshot.open_lines:,} lines open"
    shards = f" in {count(batch.waiting_shards, 'shard')}" if not opened else ""
    behind = f", behind {count(place.ahead, 'shard')} of other work" if place and place.ahead and not opened else ""
    words = f"{waiting(left)} on the queue{shards}{behind}, until there is room ({room})."
    # Lines that are open wait for what holds them; those on the queue wait for them, and bind only where none is open.
    yield Cause("queue", words, left, rank=0.1 if opened else left)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _waits(batch: Progress, snapshot: Snapshot, reason: Reason) -> Counter[str]:
    found: Counter[str] = Counter()
    for worker in snapshot.workers:
        for wait in worker.waits:
            if wait.batch_id == batch.id and wait.reason == reason:
                found[wait.where] += wait.lines
    return found


def _in_flight(batch: Progress, snapshot: Snapshot) -> int:
    return sum(one.in_flight for worker in snapshot.workers for one in worker.batches if one.batch_id == batch.id)
