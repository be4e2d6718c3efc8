"""The simulator as a process: it says where it listens, and it never outlives what it is for."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest

_DEADLINE_S = 20
_COMMAND = (sys.executable, "-m", "worker.simulator")
_ROOT = str(Path(__file__).parents[2])


@pytest.fixture
async def processes() -> AsyncIterator[list[asyncio.subprocess.Process]]:
    started: list[asyncio.subprocess.Process] = []
    yield started
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _start(processes: list[asyncio.subprocess.Process], *command: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    environment = os.environ | {"PYTHONPATH": _ROOT}
    processes.append(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment))
    return processes[-1]


async def _first_line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await asyncio.wait_for(process.stdout.readline(), _DEADLINE_S)


async def test_it_prints_its_addresses_and_ends_on_sigterm(processes: list[asyncio.subprocess.Process]) -> None:
    process = await _start(processes, *_COMMAND, "--providers", "2", "--seed", "4", "--port", "0")
    line = orjson.loads(await _first_line(process))
    assert (line["pid"], line["seed"], list(line["providers"])) == (process.pid, 4, ["alpha", "beta"])
    beta = line["providers"]["beta"]
    body = {"model": "beta-small", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {beta['keys']['main']}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{beta['base_url']}/chat/completions", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), _DEADLINE_S) == 0


async def test_with_its_parent_it_goes(processes: list[asyncio.subprocess.Process]) -> None:
    """A demo that is killed leaves no server behind."""
    parent = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'worker.simulator', '--with-parent'])\n"
        "child.wait()\n"
    )
    process = await _start(processes, sys.executable, "-c", parent)
    await _first_line(process)
    process.kill()
    out, _ = await asyncio.wait_for(process.communicate(), _DEADLINE_S)  # the child holds the other ends of the pipes
    assert out == b""


async def test_a_wrong_configuration_is_one_sentence_and_exit_2(
    processes: list[asyncio.subprocess.Process], tmp_path: Path
) -> None:
    path = tmp_path / "simulator.toml"
    path.write_text("[providers.alpha.limits]\nrpms = 3\n", "utf-8")
    process = await _start(processes, *_COMMAND, "--config", str(path))
    out, err = await asyncio.wait_for(process.communicate(), _DEADLINE_S)
    assert (process.returncode, out) == (2, b"")
    assert err == b"providers.alpha.limits.rpms: there is no such setting.\n"
