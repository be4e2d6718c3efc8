"""Worker processes under one parent.

Comes in: how many. Goes out: their common exit code, when the last has ended. With one process everything happens in
this one; with more, the parent starts each as a fresh interpreter, passes SIGTERM and SIGINT on, and starts a process
again that died unasked, later and later when it dies at once. Called by ``work``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from bucketline.settings import load_settings
from worker.engine import Engine
from worker.heap import settle_heap
from worker.logs import logger, set_up_logs
from worker.service import open_engine, serve

__all__ = ["run_loop", "supervise", "work_here"]

_log = logger(__name__)
_INTERRUPTED = 130  #: the exit code of Ctrl-C


Beside = Callable[[Engine, asyncio.Event], Coroutine[Any, Any, None]]  #: a further duty of a worker process


def supervise(
    config: str | None, *, processes: int, beside: Beside | None, arguments: Callable[[int], Sequence[str]]
) -> int:
    """Run workers until told to stop; the exit code. ``arguments`` start a process, by its number, with its own part of
    what ``beside`` does here. Raises ConfigError and ServiceUnavailable at the start.
    """
    set_up_logs()
    if processes == 1:
        return run_loop(lambda: work_here(config, beside))
    return run_loop(lambda: _parent(config, processes, arguments))


def run_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a coroutine on the fastest loop that this platform has."""
    factory = None
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    settle_heap()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


async def work_here(config: str | None, beside: Beside | None = None) -> int:
    """One worker in this process."""
    settings = load_settings(config)
    stop = _stop_on_signals()
    async with open_engine(settings) as engine:
        tasks = [asyncio.create_task(serve(engine, stop))]
        if beside is not None:
            tasks.append(asyncio.create_task(beside(engine, stop)))
        _log.info("worker_started", worker=engine.worker_id)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
    _log.info("worker_stopped")
    return 0


def _stop_on_signals(kill: Callable[[], None] = lambda: None) -> asyncio.Event:
    """An event that SIGTERM or the first SIGINT sets; the second SIGINT calls ``kill`` and ends the process at once.

    At once means without any clean-up: what is recorded is in Redis, the rest is as after a crash.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    interrupts = 0

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            kill()
            sys.stderr.write("Interrupted; calls in flight are cut off.\n")
            sys.stderr.flush()
            os._exit(_INTERRUPTED)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    return stop


async def _parent(config: str | None, processes: int, arguments: Callable[[int], Sequence[str]]) -> int:
    children: set[asyncio.subprocess.Process] = set()

    def kill() -> None:
        for child in children:
            with suppress(ProcessLookupError):
                child.kill()

    stop = _stop_on_signals(kill)
    codes = await asyncio.gather(*(_keep_one(config, arguments(n), stop, children) for n in range(processes)))
    return max(codes)


async def _keep_one(
    config: str | None, arguments: Sequence[str], stop: asyncio.Event, children: set[asyncio.subprocess.Process]
) -> int:
    command = [sys.executable, "-m", "worker.cli", *(["--config", config] if config else []), "work"]
    command += arguments
    delay_s = 0.5
    while True:
        process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        children.add(process)
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            return await ended
        stopped.cancel()
        children.discard(process)
        code = ended.result()
        if code in (2, 4):
            stop.set()  # a wrong configuration or an unreachable service at the start is the same for all of them
            return code
        _log.error("worker_died", code=code)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await stop.wait()
        delay_s = min(30.0, 2 * delay_s)
