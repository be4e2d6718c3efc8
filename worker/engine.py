"""The composition root of the line: real things are plugged together here, once, for one process.

Comes in: the settings, the open store and Redis. Goes out: an ``Engine`` whose parts know nothing of each other but
what they were given. Called by ``service`` (workers) and ``local`` (``run`` and ``demo``).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bucketline.catalog import Catalog
from bucketline.documents import Documents
from bucketline.ledger import Ledger
from bucketline.prices import PriceBook
from bucketline.settings import Settings
from bucketline.store import Store
from worker.attempt import Caller
from worker.circuits import Pauses
from worker.control import Control
from worker.credentials import Credentials
from worker.dedupe import Dedupe
from worker.dispatch import Dispatcher
from worker.health import Health
from worker.limiter import Gate
from worker.limiter.learning import Learning
from worker.limiter.likely import Likely
from worker.measured import Measurements
from worker.orders import Orders
from worker.putoff import PutOff
from worker.record import Recorder
from worker.seal import Sealer
from worker.shard import ShardRunner
from worker.sight import Sight
from worker.traces import Traces, open_traces
from worker.transport import Clocks, Transport
from worker.turnstile import Turnstile

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["Engine", "build_engine", "new_worker_id"]


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything of one process, in the order in which it is closed."""

    settings: Settings
    worker_id: str
    redis: ArqRedis
    store: Store
    ledger: Ledger
    catalog: Catalog
    prices: PriceBook
    gate: Gate
    learning: Learning
    health: Health
    measured: Measurements
    control: Control
    recorder: Recorder
    transport: Transport
    turnstile: Turnstile
    runner: ShardRunner
    sight: Sight
    traces: Traces | None
    stopping: asyncio.Event  #: nothing new is taken
    late: asyncio.Event  #: Redis and the store are waited for no more
    put_off: PutOff = field(default_factory=PutOff)
    lost_jobs: set[str] = field(default_factory=set)  #: jobs of this process that others have by now
    finishing: set[str] = field(default_factory=set)  #: batches that are being finished here

    async def start(self) -> None:
        await self.gate.start()
        self.learning.start()
        self.control.start()
        self.health.start()
        self.measured.start()
        self.runner.dedupe.start()
        self.recorder.start()

    async def close(self) -> None:
        """Answers first: what is recorded must be written before the permits and connections go."""
        await self.recorder.close()
        await self.runner.dedupe.close()
        await self.control.close()
        await self.health.close()
        await self.measured.close()
        await self.learning.close()
        await self.gate.close()
        await self.transport.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)


def new_worker_id() -> str:
    """Unique over the fleet, and readable: host, process, four random digits."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


def build_engine(settings: Settings, redis: ArqRedis, store: Store) -> Engine:
    """Plug one process together; nothing runs until ``start``."""
    worker_id = new_worker_id()
    worker = settings.worker
    stopping, late = asyncio.Event(), asyncio.Event()
    sight = Sight()
    traces = open_traces(worker.trace_share)
    ledger = Ledger(redis)
    catalog = Catalog(settings)
    prices = PriceBook(settings)
    turnstile = Turnstile(worker.concurrency)
    gate = Gate(redis, worker_id, room=turnstile.soon)
    turnstile.opened = gate.look
    retry = settings.retry
    pauses = Pauses(max(1, round(2000 * retry.base_delay_s)), max(1, round(2000 * retry.max_delay_s)))
    control = Control(ledger, time.time)
    health = Health(redis, control.now_s, pauses)
    measured = Measurements(redis)
    credentials = Credentials()
    likely = Likely()
    recorder = Recorder(ledger, most_bytes=worker.max_unsealed_bytes, hold_back=turnstile.hold)
    transport = Transport(
        Clocks(retry.connect_timeout_s, retry.upload_timeout_s, retry.first_byte_timeout_s, retry.idle_timeout_s)
    )
    dispatcher = Dispatcher(
        catalog=catalog,
        orders=Orders(measured, prices, likely, credentials),
        health=health,
        gate=gate,
        turnstile=turnstile,
        caller=Caller(gate, transport, credentials, health, likely, measured, prices, retry, sight=sight),
        likely=likely,
        measured=measured,
        retry=retry,
        sight=sight,
        clock=control.now_s,
    )
    runner = ShardRunner(
        worker_id=worker_id,
        store=store,
        documents=Documents(store),
        ledger=ledger,
        control=control,
        recorder=recorder,
        sealer=Sealer(ledger, store, recorder),
        dispatcher=dispatcher,
        dedupe=Dedupe(redis, ledger, store, sight),
        settings=worker,
        line_cap_bytes=settings.max_line_bytes,
        landing_s=settings.retry.longest_call_s,
        monotonic=time.monotonic,
        stopping=stopping,
        late=late,
        traces=traces,
    )
    return Engine(
        settings,
        worker_id,
        redis,
        store,
        ledger,
        catalog,
        prices,
        gate,
        Learning(redis, likely),
        health,
        measured,
        control,
        recorder,
        transport,
        turnstile,
        runner,
        sight,
        traces,
        stopping,
        late,
    )
