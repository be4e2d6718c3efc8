"""The simulator as a process: ``python -m worker.simulator``.

In: ``--config FILE.toml`` (the fields of ``SimulatorConfig``), or a preset and its seed. Out: one line of JSON on
stdout with every address as soon as they can be called, then nothing. Ends on SIGTERM and SIGINT, and with
``--with-parent`` when the process that started it has gone (give its id, and not even its death during the start
goes unnoticed). Exit 2 with one sentence where the configuration is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tomllib
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from bucketline.errors import ConfigError
from worker.simulator.config import SimulatorConfig, read_config
from worker.simulator.presets import bad_weather, fair_weather
from worker.simulator.server import Simulator

_PARENT_EVERY_S: Final = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until it is told to stop; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = _config(options)
        return _run(_serve(config, parent=options.with_parent))
    except (ConfigError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _run(serving: Coroutine[Any, Any, int]) -> int:
    """On uvloop where there is one: it serves half as many calls again."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serving)
    return uvloop.run(serving)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.simulator", description="Simulated LLM providers.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE.toml", help="a configuration of one's own")
    source.add_argument("--bad-weather", action="store_true", help="the demo's two providers")
    source.add_argument("--providers", type=int, default=1, metavar="N", help="N plain providers (default 1)")
    parser.add_argument("--port", type=int, help="serve all under /NAME of this port; 0 takes a free one")
    parser.add_argument("--seed", type=int, help="of the weather and the answers")
    parser.add_argument("--record", action="store_true", help="keep every call for GET /__books?calls=1")
    parser.add_argument(
        "--with-parent",
        type=int,
        nargs="?",
        const=os.getppid(),
        metavar="PID",
        help="end when this process is no longer the parent; without a PID, the one that is it at the start",
    )
    return parser


def _config(options: argparse.Namespace) -> SimulatorConfig:
    if options.config is not None:
        config = _from_file(options.config)
    elif options.bad_weather:
        config = bad_weather(0)
    else:
        config = fair_weather(options.providers, 0)
    if options.seed is not None:
        config = replace(config, seed=options.seed)
    if options.port is not None:
        config = replace(config, one_port=options.port)
    return replace(config, record_calls=config.record_calls or options.record)


def _from_file(path: Path) -> SimulatorConfig:
    try:
        return read_config(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None


async def _serve(config: SimulatorConfig, *, parent: int | None) -> int:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with Simulator(config) as simulator:
        line = {"pid": os.getpid(), "seed": config.seed, "providers": simulator.addresses()}
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.buffer.flush()
        if parent is None:
            await over.wait()
        else:
            await _until_orphaned(over, parent)
    return 0


async def _until_orphaned(over: asyncio.Event, parent: int) -> None:
    """Waits for the signal, or until this process has another parent than this."""
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARENT_EVERY_S):
                await over.wait()
                return


if __name__ == "__main__":
    sys.exit(main())
