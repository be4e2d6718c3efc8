"""Streams in flat memory: an object four times as large takes no more of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.store.seaweed import ACCESS_KEY, SECRET_KEY

_STREAM = """
import asyncio, resource, sys
from bucketline.store import open_store
async def main(address, mib):
    store, block = open_store(address), bytes(range(256)) * 512
    async with store.writer("k") as writer:
        for _ in range(mib * 8):
            await writer.write(block)
    assert sum([len(block) async for block in store.read("k")]) == mib << 20
    async with store.writer("copy") as writer:
        await writer.write(b"x")
        await writer.copy("k", 0, mib << 20)
    await store.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", "seaweedfs"])
def test_memory_does_not_grow_with_the_object(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, bucket_at: Callable[..., str]
) -> None:
    address = str(tmp_path)
    if where == "seaweedfs":
        address = bucket_at(request.getfixturevalue("seaweed"), ACCESS_KEY, SECRET_KEY)

    def peak(mib: int) -> int:
        command = [sys.executable, "-c", _STREAM, address, str(mib)]
        return int(subprocess.check_output(command, cwd=Path(__file__).parents[3], env=os.environ))

    assert peak(144) < 1.25 * peak(36)
