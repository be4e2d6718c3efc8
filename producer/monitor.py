"""The whole line at one moment, read from Redis in one pipeline of small commands.

Comes in: Redis, and the names that the configuration knows. Goes out: a ``Snapshot``: queue, batches, scopes, circuits, measured
routes, workers. What changes slowly is read seldom, and no look sends more than ``MOST`` commands: with a large fleet the rows
take turns, and each is as old as it must be. It only reads. Called by ``top``, ``why``, ``status`` and the fleet's metrics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bucketline import keys
from bucketline.batch import TERMINAL, Progress, progress_from
from bucketline.circuit import CIRCUIT_FIELDS, Circuit, circuit_of
from bucketline.gauge import FIGURE_FIELDS, STATE_FIELDS, Gauge, gauge_of
from bucketline.measured import Measured, measured_from
from bucketline.sign import Sign, read_sign

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["MOST", "Monitor", "Snapshot"]

MOST = 44  #: commands of one look, at the most
_INDEX = 7  #: of them, those that say what there is
_LISTED = 200  #: the newest batches that are looked at; at least one, since Redis counts from the end too
#: what → how often it is read anew, seconds
_PERIODS = {"batch": 1.0, "worker": 1.0, "scope": 1.0, "circuit": 1.0, "figures": 10.0, "measured": 5.0}

_Item = tuple[str, str]  #: what, name


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was found; times are unix seconds on Redis' clock."""

    at_s: float
    tickets: int = 0  #: shards on the queue, waiting or at work
    head: str | None = None  #: the job at the head of the queue
    batches: tuple[Progress, ...] = ()  #: the newest first
    gauges: Mapping[str, Gauge] = field(default_factory=dict)
    circuits: Mapping[str, Circuit] = field(default_factory=dict)  #: those that are open
    measured: Mapping[str, Measured] = field(default_factory=dict)
    workers: tuple[Sign, ...] = ()
    routes: tuple[str, ...] = ()  #: that were ever called, or are configured

    @property
    def live(self) -> tuple[Progress, ...]:
        """Batches that are not over."""
        return tuple(batch for batch in self.batches if batch.state not in TERMINAL)

    @property
    def open_lines(self) -> int:
        return sum(worker.open_lines for worker in self.workers)

    @property
    def in_flight(self) -> int:
        return sum(worker.in_flight for worker in self.workers)

    @property
    def left_lines(self) -> int:
        """Lines of live batches without an outcome."""
        return sum(batch.counts.total - batch.counts.done for batch in self.live)

    def waiting(self, *reasons: str) -> int:
        """Open lines that wait for one of these."""
        return sum(wait.lines for worker in self.workers for wait in worker.waits if wait.reason in reasons)

    def batch(self, batch_id: str) -> Progress | None:
        return next((batch for batch in self.batches if batch.id == batch_id), None)

    def lines_per_s(self, batch_id: str) -> float:
        """As all workers together observed it."""
        return sum(one.lines_per_s for worker in self.workers for one in worker.batches if one.batch_id == batch_id)


class Monitor:
    """Looks again and again. ``routes`` and ``scopes`` are of interest even if nobody has listed them in Redis."""

    def __init__(
        self,
        redis: Redis,
        routes: Iterable[str] = (),
        *,
        scopes: Iterable[str] = (),
        listed: int = _LISTED,
        most: int = MOST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._configured = tuple(dict.fromkeys(routes))
        self._also = tuple(scopes)
        self._listed = listed
        self._most = most
        self._monotonic = monotonic
        self._read_at: dict[_Item, float] = {}
        self._found: dict[_Item, Any] = {}
        self._batch_ids: list[str] = []
        self._worker_ids: list[str] = []
        self._scopes: list[str] = []
        self._routes: list[str] = list(self._configured)
        self._indexed = False

    async def look(self) -> Snapshot:
        """One round trip; the first look takes two. Raises the errors of Redis."""
        if not self._indexed:
            await self._send([])
            self._indexed = True
        return await self._send(self._due())

    async def look_at_all(self) -> Snapshot:
        """Everything at once, however much it is."""
        if not self._indexed:
            await self._send([])
            self._indexed = True
        return await self._send(list(self._items()))

    def watch(self, names: Iterable[str]) -> None:
        """Further batches that are of interest however old they are."""
        self._batch_ids = list(dict.fromkeys((*names, *self._batch_ids)))

    # ── what to read ──────────────────────────────────────────────────────────────────────────────────────────────

    def _items(self) -> Iterable[_Item]:
        for batch_id in self._batch_ids:
            known = self._found.get(("batch", batch_id))
            if known is None or known.state not in TERMINAL:
                yield "batch", batch_id
        yield from (("worker", worker_id) for worker_id in self._worker_ids)
        for name in self._scopes:
            yield "figures", name
            yield "scope", name
        for name in self._circuit_names():
            yield "circuit", name
        yield from (("measured", name) for name in self._routes)

    def _circuit_names(self) -> list[str]:
        """Routes, and the providers' accounts before their first stroke."""
        return list(dict.fromkeys(name for route in self._routes for name in (route.partition("/")[0], route)))

    def _due(self) -> list[_Item]:
        """What is due, the longest overdue first."""
        now_s = self._monotonic()
        due = []
        for item in self._items():
            overdue = (now_s - self._read_at.get(item, -math.inf)) / _PERIODS[item[0]]
            if overdue >= 0.9:
                due.append((-overdue, item))
        return [item for _, item in sorted(due, key=lambda pair: pair[0])[: self._most - _INDEX]]

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self, items: list[_Item]) -> Snapshot:
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.zcard(keys.QUEUE)
        pipe.zrange(keys.QUEUE, 0, 0)
        pipe.zrevrange(keys.BATCHES, 0, self._listed - 1)
        pipe.zrange(keys.WORKERS, 0, -1)
        pipe.smembers(keys.SCOPES)
        pipe.smembers(keys.ROUTES)
        for what, name in items:
            _ask(pipe, what, name)
        (seconds, micros), tickets, head, batches, workers, scopes, routes, *answers = await pipe.execute()
        now_s = seconds + micros / 1e6
        read_at = self._monotonic()
        for item, answer in zip(items, answers, strict=True):
            self._read_at[item] = read_at
            self._found[item] = _read(*item, answer)
        watched = [batch_id for batch_id in self._batch_ids if self._is_live(batch_id)]
        self._batch_ids = list(dict.fromkeys((*_texts(batches), *watched)))
        self._worker_ids = sorted(_texts(workers))
        self._scopes = sorted({*_texts(scopes), *self._also})
        self._routes = list(dict.fromkeys((*self._configured, *sorted(_texts(routes)))))
        self._forget()
        return self._snapshot(now_s, tickets, head[0].decode() if head else None)

    def _is_live(self, batch_id: str) -> bool:
        known = self._found.get(("batch", batch_id))
        return known is not None and known.state not in TERMINAL

    def _forget(self) -> None:
        """Let go of what is no longer there."""
        here = {
            *(("batch", name) for name in self._batch_ids),
            *(("worker", name) for name in self._worker_ids),
            *((what, name) for name in self._scopes for what in ("scope", "figures")),
            *(("circuit", name) for name in self._circuit_names()),
            *(("measured", name) for name in self._routes),
        }
        for item in [item for item in self._found if item not in here]:
            del self._found[item]
            self._read_at.pop(item, None)

    def _snapshot(self, now_s: float, tickets: int, head: str | None) -> Snapshot:
        found = self._found
        gauges = {
            name: gauge_of(name, found[figures], found[state], now_s)
            for name in self._scopes
            if (figures := ("figures", name)) in found and (state := ("scope", name)) in found
        }
        return Snapshot(
            at_s=now_s,
            tickets=tickets,
            head=head,
            batches=tuple(one for name in self._batch_ids if (one := found.get(("batch", name))) is not None),
            gauges=gauges,
            circuits={name: one for name in self._circuit_names() if (one := found.get(("circuit", name))) is not None},
            measured={name: one for name in self._routes if (one := found.get(("measured", name))) is not None},
            workers=tuple(one for name in self._worker_ids if (one := found.get(("worker", name))) is not None),
            routes=tuple(self._routes),
        )


def _ask(pipe: Any, what: str, name: str) -> None:
    if what == "batch":
        pipe.hgetall(keys.batch_hash(name))
    elif what == "worker":
        pipe.hgetall(keys.worker_hash(name))
    elif what == "figures":
        pipe.hmget(keys.limit_figures(name), list(FIGURE_FIELDS))
    elif what == "scope":
        pipe.hmget(keys.gate_state(name), list(STATE_FIELDS))
    elif what == "circuit":
        pipe.hmget(keys.circuit(name), list(CIRCUIT_FIELDS))
    else:
        pipe.hgetall(keys.measured(name))


def _read(what: str, name: str, answer: Any) -> Any:
    if what == "batch":
        return progress_from(name, answer)
    if what == "worker":
        return read_sign(name, answer)
    if what == "figures":
        return _named(FIGURE_FIELDS, answer)
    if what == "scope":
        return _named(STATE_FIELDS, answer)
    if what == "circuit":
        return circuit_of(name, answer)
    return measured_from(answer)


def _named(names: Iterable[str], values: Iterable[bytes | None]) -> dict[str, str]:
    return {name: value.decode() for name, value in zip(names, values, strict=True) if value is not None}


def _texts(raw: Iterable[bytes]) -> list[str]:
    return [member.decode() for member in raw]
