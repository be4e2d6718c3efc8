"""A worker: takes shards from the queue, keeps their leases, and lives on when Redis goes away.

Comes in: tickets through arq. Goes out: shards worked off by ``shard``, batches finished by ``finish``. arq's own mark
of a running job is the lease: short, and renewed here while the shard runs, so that a dead worker's shard is taken up
within seconds and a healthy one may run for a day. arq's loop ends on a lost connection; it is started again while the
open calls go on. ``bucketline work`` and ``arq worker.service.WorkerSettings`` both run ``serve``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from arq.worker import Retry, Worker, func
from redis.exceptions import RedisError

from bucketline import keys, queue
from bucketline.connect import connect_redis
from bucketline.errors import BucketlineError, ConfigError
from bucketline.ledger import LedgerGone
from bucketline.queue import FINISH_JOB, SHARD_JOB, Ticket, decode_job, encode_job, enqueue_finish, mark_of, starts_of
from bucketline.settings import Settings, load_settings
from bucketline.store import open_store
from worker.bell import Bell
from worker.engine import Engine, build_engine
from worker.finish import finish_batch
from worker.lease import Leases
from worker.logs import logger, said, set_up_logs
from worker.merge import LinesMissing
from worker.shard import ShardEnd
from worker.sign import Signs
from worker.sweep import Sweep
from worker.take import choose
from worker.tasks import end_tasks

__all__ = ["LineWorker", "WorkerSettings", "open_engine", "serve"]

_log = logger(__name__)

_SLOWER = 4  #: a full worker, or an idle one that hears no bell, looks at the queue so many times less often
_RARELY = 30  #: and an idle one that would hear it
_QUIET_AFTER_S = 3.0  #: and is idle after so long without a shard
_READ_LIMIT = 2000  #: running shards stay in the queue, so a worker must read past all of the fleet's
_HEAD = 64  #: of the tickets that nobody holds, so many are asked whether they were begun
_MOST_SHARDS = 1000  #: the real bound is the room for lines
_HAND_BACK_S = 3.0
_LATE_S = 5.0  #: beyond the grace time, for Redis and the store to take what landed
_NEVER_S = 10 * 365 * 86400  #: a shard ends itself; arq's wall would cut it off with answers in hand


class LineWorker(Worker):
    """arq's worker, with a short lease, as many shards as there is room for, and hands off a job that is another's by now."""

    def __init__(self, engine: Engine, leases: Leases, bell: Bell) -> None:
        settings = engine.settings.worker
        super().__init__(
            functions=[func(_run_shard, name=SHARD_JOB), func(_finish, name=FINISH_JOB)],
            queue_name=keys.QUEUE,
            redis_pool=engine.redis,
            handle_signals=False,
            max_jobs=_MOST_SHARDS,
            job_timeout=_NEVER_S,
            keep_result=0,
            poll_delay=settings.poll_s,
            queue_read_limit=_READ_LIMIT,
            max_tries=1_000_000_000,
            ctx={"engine": engine},
            job_serializer=encode_job,
            job_deserializer=decode_job,
            log_results=False,
        )
        self._engine = engine
        self._leases = leases
        self._bell = bell
        self._take = queue.taker(engine.redis)
        self._looked_s = self._worked_s = 0.0
        self.in_progress_timeout_s = settings.lease_s

    async def _poll_iteration(self) -> None:
        """arq's look at the queue, less often while nothing can come of it: it reaps ended jobs all the same."""
        self.allow_pick_jobs = self._is_due(time.monotonic())
        await super()._poll_iteration()

    def _is_due(self, now_s: float) -> bool:
        """Quick while there is work and room for more, and when the bell rings; else slow, and slower where it would."""
        runner, rung = self._engine.runner, self._bell.take()
        if runner.open or rung:
            self._worked_s = now_s  # who came too late for the first shards looks on for a while: there are more
        if runner.room_lines > 0 and now_s - self._worked_s < _QUIET_AFTER_S:
            rounds = 1
        else:
            rounds = _RARELY if self._bell.listens and not runner.open else _SLOWER
        if not rung and now_s - self._looked_s < (rounds - 0.5) * self.poll_delay_s:
            return False
        self._looked_s = now_s
        return True

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Leave out what others hold (one command for all of them), then take what there is room for.

        Before this process is calm it leaves out as well what was ever begun: its holder may live.
        """
        engine = self._engine
        calm = self._leases.calm
        if not job_ids or engine.stopping.is_set() or not (calm or self._leases.undisturbed):
            return
        names = [job_id.decode() for job_id in job_ids]
        signs = (mark_of,) if calm else (mark_of, starts_of)
        found = await self.pool.mget([sign(name) for sign in signs for name in names])
        taken = {name for name, sign in zip(names * len(signs), found, strict=True) if sign is not None}
        taken |= engine.runner.open_jobs() | engine.put_off.names()
        free = [name for name in names if name not in taken]
        left, runner = await self._left_behind(free) if calm else set(), engine.runner
        chosen = choose(free, runner.open_by_batch(), runner.room_lines, begun=left, spare_lines=runner.spare_lines)
        begun = await self._take(chosen[: self.max_jobs - self.job_counter], self.in_progress_timeout_s)
        if not (self._leases.calm if calm else self._leases.undisturbed):
            return  # Redis was away while it was asked: what nobody seemed to hold may be a living process's
        for name, rank in begun.items():
            await self.sem.acquire()
            self.job_counter += 1
            self.tasks[name] = task = self.loop.create_task(self.run_job(name, int(rank)))
            task.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())

    async def _left_behind(self, free: list[str]) -> set[str]:
        """Those that somebody began and nobody holds, where there is no room for all; they stand at the queue's head."""
        head = free[:_HEAD] if self._engine.runner.room_lines <= 0 else []
        found = await self.pool.mget([starts_of(name) for name in head]) if head else []
        return {name for name, starts in zip(head, found, strict=True) if starts is not None}

    async def finish_job(self, job_id: str, *rest: Any, **named: Any) -> None:
        """What arq does with an ended job, unless another worker has it by now: then the ticket and its mark are his."""
        if job_id in self._engine.lost_jobs:
            self._engine.lost_jobs.discard(job_id)
            return
        try:
            await super().finish_job(job_id, *rest, **named)
        except (RedisError, OSError) as error:
            # The ticket stays on the queue and the mark runs out: whoever takes it up finds what is left to do.
            _log.warning("ticket_left", job=job_id, error=type(error).__name__)


async def _run_shard(ctx: dict[str, Any], *ticket: Any) -> None:
    engine: Engine = ctx["engine"]
    job_id: str = ctx["job_id"]
    number = Ticket(*ticket)
    end = await engine.runner.run(number)
    if end is ShardEnd.LOST:
        engine.lost_jobs.add(job_id)
    if end is ShardEnd.PUT_OFF:
        engine.put_off.add(job_id)
    else:
        engine.put_off.forget(job_id)
    if end in (ShardEnd.HAND_BACK, ShardEnd.PUT_OFF):
        raise Retry(defer=0)
    if end is ShardEnd.LAST:
        await enqueue_finish(engine.redis, number.batch_id)


async def _finish(ctx: dict[str, Any], batch_id: str) -> None:
    """Finish a batch; whatever is in the way, the sweep asks for it again."""
    engine: Engine = ctx["engine"]
    if not await engine.ledger.renew_finish(engine.worker_id, engine.settings.worker.lease_s, batch_id):
        engine.lost_jobs.add(ctx["job_id"])
        return
    engine.finishing.add(batch_id)
    try:
        await finish_batch(
            batch_id,
            engine.store,
            engine.ledger,
            book=engine.prices,
            catalog=engine.catalog,
            clock=engine.control.now_s,
        )
    except LinesMissing as error:
        _log.error("lines_missing", batch=batch_id, shards=len(error.lacking))
        await engine.ledger.reopen(batch_id, error.lacking, error.tally.counters())
    except (LedgerGone, RedisError, OSError, BucketlineError) as error:
        _log.warning("finish_put_off", batch=batch_id, reason=said(error))
    except Exception as error:
        _log.error("finish_broke", batch=batch_id, error=type(error).__name__)
    finally:
        engine.finishing.discard(batch_id)


@contextlib.asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """Connect to Redis and the store, start one process's parts, and end them in order."""
    if not settings.redis_url:
        raise ConfigError("No redis_url is configured; set it in bucketline.toml or BUCKETLINE_REDIS_URL.")
    if not settings.store:
        raise ConfigError("No store is configured; set it in bucketline.toml or BUCKETLINE_STORE.")
    redis = await connect_redis(settings.redis_url, evicting=settings.allow_evicting_redis)
    store = open_store(settings.store)
    engine = build_engine(settings, redis, store)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()
        await store.close()
        await redis.aclose()


async def serve(engine: Engine, stop: asyncio.Event) -> None:
    """Run until ``stop`` is set; then take nothing new, let answers land, hand the rest back."""
    leases, bell = Leases(engine), Bell(engine.redis)
    helpers = [asyncio.create_task(duty.run()) for duty in (leases, Sweep(engine), Signs(engine), bell)]
    workers: list[LineWorker] = []
    line = asyncio.create_task(_line(engine, leases, bell, workers))
    try:
        await stop.wait()
    finally:
        engine.stopping.set()
        late = asyncio.get_running_loop().call_later(engine.settings.worker.grace_s + _LATE_S, engine.late.set)
        await engine.runner.drained()
        await _handed_back(workers)
        late.cancel()
        engine.late.set()
        await end_tasks(line, *helpers)
        await leases.farewell()


async def _line(engine: Engine, leases: Leases, bell: Bell, workers: list[LineWorker]) -> None:
    """arq's loop, started again whenever Redis ends it; jobs that run go on meanwhile."""
    delay_s = 0.1
    while not engine.stopping.is_set():
        worker = LineWorker(engine, leases, bell)
        workers[:] = [*(one for one in workers if any(not task.done() for task in one.tasks.values())), worker]
        began = time.monotonic()
        try:
            await worker.async_run()
        except (RedisError, OSError) as error:
            _log.warning("redis_away", error=type(error).__name__)
        except Exception as error:  # a worker that takes nothing and lives on would be the worst of all
            _log.error("queue_broke", error=type(error).__name__)
        finally:
            await end_tasks(worker.main_task)
            for task in worker.tasks.values():
                task.add_done_callback(_heard)
        delay_s = 0.1 if time.monotonic() - began > 10 else min(2.0, 2 * delay_s)
        await asyncio.sleep(delay_s)


def _heard(task: asyncio.Task[None]) -> None:
    """A job of a loop that has ended, and so cannot ask for its error: what it lost, the sweep finds."""
    if not task.cancelled() and task.exception() is not None:
        _log.warning("job_broke", error=type(task.exception()).__name__)


async def _handed_back(workers: list[LineWorker]) -> None:
    """arq's last step of each job, which gives its ticket free; without it another worker waits for the lease's end."""
    tasks = {task for worker in workers for task in worker.tasks.values() if not task.done()}
    if tasks:
        await asyncio.wait(tasks, timeout=_HAND_BACK_S)


class _Host:
    """What arq's own command runs: a worker of an empty queue, inside which the line is served."""

    engine: contextlib.AbstractAsyncContextManager[Engine]
    task: asyncio.Task[None]
    stop: asyncio.Event


async def _nothing(_ctx: dict[str, Any]) -> None:
    """The host's queue stays empty; arq wants at least one function."""


async def _start(ctx: dict[str, Any]) -> None:
    set_up_logs()
    host = ctx["host"] = _Host()
    host.stop = asyncio.Event()
    host.engine = open_engine(load_settings())
    engine = await host.engine.__aenter__()
    host.task = asyncio.create_task(serve(engine, host.stop))


async def _end(ctx: dict[str, Any]) -> None:
    host: _Host = ctx["host"]
    host.stop.set()
    await host.task
    await host.engine.__aexit__(None, None, None)


class WorkerSettings:
    """``arq worker.service.WorkerSettings``; the configuration is found as ``bucketline work`` finds it."""

    functions: ClassVar[list[Any]] = [_nothing]
    queue_name = "bl:host"
    poll_delay = 1.0
    keep_result = 0
    on_startup = _start
    on_shutdown = _end
    job_serializer = encode_job
    job_deserializer = decode_job
