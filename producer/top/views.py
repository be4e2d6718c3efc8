"""A snapshot as rows: queue, batches, providers, workers, failures.

Comes in: a snapshot, and whether there is room for wide columns. Goes out: a ``View`` a pane, with texts, styles and what to
sort by. Pure, so that the same snapshot draws the same screen. Called by ``top --once`` and the app.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bucketline.batch import TERMINAL, Progress, State
from bucketline.failure import TABLE, Kind
from bucketline.figures import bar, cents, clock, percent, seconds_in_words, short_bytes, short_count
from bucketline.sign import Reason, Sign
from producer.monitor import Snapshot
from producer.timeleft import left_s
from producer.top.lanes import providers
from producer.top.table import Cell, Column, Row, View

__all__ = ["PANES", "headline", "view_of"]

FURTHER = "#limit"  #: in the key of a row that holds but one more limit of the row above
_STATES = {
    State.VALIDATING: ("queued", "cyan"),
    State.IN_PROGRESS: ("running", "green"),
    State.FINALIZING: ("merging", "cyan"),
    State.COMPLETED: ("completed", "dim"),
    State.FAILED: ("failed", "red"),
    State.EXPIRED: ("expired", "red"),
    State.CANCELLING: ("cancels", "yellow"),
    State.CANCELLED: ("cancelled", "dim"),
}


# ── the head ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def headline(snapshot: Snapshot) -> tuple[str, str]:
    """The two lines on top: the fleet and its money; the queue and what its lines do."""
    live = snapshot.live
    spent = sum(batch.nanousd for batch in live)
    rate = sum(one.lines_per_s for worker in snapshot.workers for one in worker.batches)
    oldest = min((batch.created_s for batch in live), default=None)
    age = "" if oldest is None else f", oldest {seconds_in_words(snapshot.at_s - oldest)}"
    first = [
        clock(snapshot.at_s, snapshot.at_s),
        _many(len(snapshot.workers), "worker"),
        f"{len(live):,} live {'batch' if len(live) == 1 else 'batches'}{age}",
        f"{short_count(rate)} lines/s",
        cents(spent),
    ]
    waiting = max(0, snapshot.left_lines - snapshot.open_lines)
    second = [
        f"queued {_number(waiting)} in {_many(snapshot.tickets, 'shard')}",
        f"open {_number(snapshot.open_lines)}",
        f"in flight {_number(snapshot.in_flight)}",
        f"parked {_number(snapshot.waiting(Reason.BACKOFF))}",
    ]
    return "  ".join(first), "  ".join(second)


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_BATCHES = (
    Column("batch", 8),
    Column("id", 26, wide=True),
    Column("source", None),
    Column("state", 9),
    Column("done", 13),
    Column("lines", 9, right=True, wide=True),
    Column("rate", 6, right=True),
    Column("cost", 8, right=True),
    Column("left", 6, right=True),
    Column("failed", 6, right=True),
)


def _batches(snapshot: Snapshot) -> View:
    live = snapshot.live
    over = [batch for batch in snapshot.batches if batch.state in TERMINAL]
    rows = tuple(_batch(batch, snapshot) for batch in (*live, *over))
    title = (
        f"batches: {len(live):,} live, {len(over):,} over"
        if rows
        else "batches: none; `bucketline submit FILE` makes one"
    )
    return View(title, _BATCHES, rows)


def _batch(batch: Progress, snapshot: Snapshot) -> Row:
    counts, rate = batch.counts, snapshot.lines_per_s(batch.id)
    word, style = ("paused", "yellow") if batch.paused else _STATES[batch.state]
    left = None if batch.state in TERMINAL else left_s(batch, snapshot, rate)
    unknown = "?" if batch.unpriced else ""
    failed = counts.failed + counts.cancelled
    return Row(
        batch.id,
        (
            Cell(batch.id.removeprefix("batch_")[:8], "bold"),
            Cell(batch.id),
            Cell(batch.source.rsplit("/", 1)[-1]),
            Cell(word, style),
            Cell(f"{bar(counts.percent / 100, 8)} {int(counts.percent):>3}%", style, counts.percent),
            Cell(short_count(counts.total), "", counts.total),
            Cell(f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate > 0 else "", "", rate),
            Cell(cents(batch.nanousd) + unknown, "", batch.nanousd),
            Cell(seconds_in_words(left) if left else "", "", left),
            Cell(short_count(failed) if failed else "", "red" if failed else "", failed),
        ),
    )


# ── providers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_PROVIDERS = (
    Column("provider", None),
    Column("limit", 17),
    Column("flying", 6, right=True, wide=True),
    Column("waiting", 7, right=True),
    Column("next", 6, right=True),
    Column("state", 9),
    Column("p50", 5, right=True),
    Column("p95", 5, right=True),
    Column("tok/s", 6, right=True, wide=True),
    Column("ok", 5, right=True),
    Column("last error", 28, wide=True),
)


def _providers(snapshot: Snapshot) -> View:
    rows: list[Row] = []
    for lane in providers(snapshot):
        known, style = lane.measured, "red" if lane.closed else "yellow" if lane.paused else "green"
        top, *others = lane.limits or (None,)
        failed = known is not None and known.success is not None and known.success < 0.95
        rows.append(
            Row(
                lane.name,
                (
                    Cell(lane.label, "bold" if lane.is_account else ""),
                    _limit(top),
                    Cell(f"{lane.in_flight:,}" if lane.in_flight is not None else "", "", lane.in_flight),
                    Cell(f"{lane.waiting:,}" if lane.waiting else "", "yellow", lane.waiting),
                    Cell(_soon(lane.next_s), "", lane.next_s),
                    Cell(lane.state, style),
                    Cell(_latency(known.p50_s if known else None), "", known.p50_s if known else None),
                    Cell(_latency(known.p95_s if known else None), "", known.p95_s if known else None),
                    Cell(short_count(known.tokens_per_s) if known and known.tokens_per_s else ""),
                    Cell(
                        percent(known.success).replace(" ", "") if known and known.success is not None else "",
                        "red" if failed else "",
                        known.success if known else None,
                    ),
                    Cell(lane.last_error, "red"),
                ),
            )
        )
        blank = Cell("")
        for number, other in enumerate(others):
            cells = (blank, _limit(other), *(blank,) * (len(_PROVIDERS) - 2))
            rows.append(Row(f"{lane.name}{FURTHER}{number}", cells))
    return View("providers: accounts, and the routes under them", _PROVIDERS, tuple(rows))


def _limit(pair: tuple[str, float] | None) -> Cell:
    if pair is None:
        return Cell("")
    name, share = pair
    style = "red" if share >= 0.98 else "yellow" if share >= 0.8 else "green"
    return Cell(f"{name:<6} {bar(share, 5)} {round(100 * share):>3}%", style, share)


def _soon(value_s: float | None) -> str:
    if value_s is None:
        return ""
    return f"{value_s:.1f}s" if value_s < 100 else seconds_in_words(value_s)


def _latency(value_s: float | None) -> str:
    if value_s is None:
        return ""
    return f"{1000 * value_s:.0f}ms" if value_s < 1 else f"{value_s:.1f}s" if value_s < 100 else f"{value_s:.0f}s"


# ── workers and failures ──────────────────────────────────────────────────────────────────────────────────────────────

_WORKERS = (
    Column("worker", None),
    Column("in flight", 11, right=True),
    Column("open", 7, right=True),
    Column("shards", 6, right=True),
    Column("cpu", 5, right=True),
    Column("memory", 6, right=True),
    Column("lag", 6, right=True),
    Column("seen", 6, right=True),
    Column("up", 6, right=True, wide=True),
)


def _workers(snapshot: Snapshot) -> View:
    rows = tuple(_worker(sign, snapshot.at_s) for sign in snapshot.workers)
    return View(f"workers: {len(rows):,}" if rows else "workers: none; `bucketline work` starts one", _WORKERS, rows)


def _worker(sign: Sign, now_s: float) -> Row:
    silent_s, lag_ms = max(0.0, now_s - sign.seen_s), 1000 * sign.lag_s
    memory = "" if sign.memory_bytes is None else short_bytes(sign.memory_bytes)
    full = sign.places and sign.in_flight >= sign.places
    return Row(
        sign.worker_id,
        (
            Cell(sign.worker_id, "bold"),
            Cell(f"{sign.in_flight:,}/{short_count(sign.places)}", "yellow" if full else "", sign.in_flight),
            Cell(f"{sign.open_lines:,}", "", sign.open_lines),
            Cell(f"{sign.open_shards:,}", "", sign.open_shards),
            Cell("" if sign.cpu is None else f"{100 * sign.cpu:.0f}%", _warn(sign.cpu or 0, 0.9), sign.cpu),
            Cell(memory, "", sign.memory_bytes),
            Cell(f"{lag_ms:.0f}ms", _warn(sign.lag_s, 0.5), lag_ms),
            Cell(f"{silent_s:.0f}s", _warn(silent_s, 10), silent_s),
            Cell(seconds_in_words(now_s - sign.started_s) if sign.started_s else "", "", sign.started_s),
        ),
    )


def _warn(value: float, limit: float) -> str:
    return "red" if value >= limit else ""


_FAILURES = (
    Column("route", 22),
    Column("kind", 20),
    Column("minute", 6, right=True),
    Column("last", 6, right=True),
    Column("meaning", None),
)


def _failures(snapshot: Snapshot) -> View:
    counts: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], float] = {}
    for worker in snapshot.workers:
        for one in worker.troubles:
            counts[one.route, one.kind] += one.count
            last[one.route, one.kind] = max(one.last_s, last.get((one.route, one.kind), 0.0))
    rows = tuple(
        Row(
            f"{route} {kind}",
            (
                Cell(route),
                Cell(kind.replace("_", " "), "red"),
                Cell(f"{count:,}", "", count),
                Cell(f"{max(0.0, snapshot.at_s - last[route, kind]):.0f}s", "", -last[route, kind]),
                Cell(_meaning(kind)),
            ),
        )
        for (route, kind), count in counts.most_common()
    )
    return View(f"failures of the last minute: {sum(counts.values()):,}", _FAILURES, rows)


def _meaning(kind: str) -> str:
    return TABLE[Kind(kind)].sentence if kind in Kind.__members__.values() else ""


def _number(number: int) -> str:
    """Exact while it is short."""
    return f"{number:,}" if number < 100_000 else short_count(number)


def _many(number: int, word: str) -> str:
    return f"{_number(number)} {word}{'' if number == 1 else 's'}"


PANES: dict[str, Callable[[Snapshot], View]] = {
    "batches": _batches,
    "providers": _providers,
    "workers": _workers,
    "failures": _failures,
}


def view_of(
    pane: str,
    snapshot: Snapshot,
    *,
    wide: bool,
    full: bool = True,
    text: str = "",
    sort: str | None = None,
    down: bool = True,
) -> View:
    """One pane of a snapshot, as it is to be shown; without ``full`` an account shows its tightest limit alone."""
    view = PANES[pane](snapshot).filtered(text).sorted_by(sort, down=down)
    if not full:
        view = View(view.title, view.columns, tuple(row for row in view.rows if FURTHER not in row.key))
    return view if wide else view.narrowed()
