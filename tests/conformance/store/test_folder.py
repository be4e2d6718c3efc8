"""What only a folder has: crashes, full disks, files that people put there by hand, links and pipes."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bucketline.store import Changed, NotFound, Store, StoreError, StoreFull, StoreUnavailable, open_store

MIB = 1 << 20
_LONG_AGO = 1_000_000_000

_CRASH = """
import asyncio, sys
from bucketline.store import open_store
async def main():
    async with open_store(sys.argv[1]).writer("batches/b/output.jsonl") as writer:
        await writer.write(bytes(3 << 20))
        print("begun", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(str(tmp_path / "store"))
    yield store
    await store.close()


def _temporary(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "store" / ".bucketline" / "tmp").iterdir())


async def test_a_killed_writer_leaves_nothing_visible_and_is_tidied_up_after(tmp_path: Path) -> None:
    """What a crash leaves is removed at the next start; what a living process writes is not."""
    crashed, living = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CRASH, str(tmp_path / "store"), stdout=PIPE, cwd=Path(__file__).parents[3]
        )
        for _ in range(2)
    ]
    for process in (crashed, living):
        assert process.stdout is not None
        assert await process.stdout.readline() == b"begun\n"
    crashed.kill()
    await crashed.communicate()
    for file in _temporary(tmp_path):
        os.utime(file, (_LONG_AGO, _LONG_AGO))

    store = open_store(str(tmp_path / "store"))
    await store.put("k", b"x")
    assert [stat.key async for stat in store.list("")] == ["k"]
    (left,) = _temporary(tmp_path)
    assert left.name.startswith(f"{living.pid}-")
    living.kill()
    await living.communicate()
    await store.close()


async def _write(store: Store, streamed: bool) -> None:
    if not streamed:
        await store.put("k", bytes(3 * MIB))
        return
    async with store.writer("k") as writer:
        await writer.write(bytes(3 * MIB))


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_full_disk_is_one_sentence_and_nothing_half_written(
    folder: Store, tmp_path: Path, streamed: bool
) -> None:
    """The system itself refuses the bytes here: a file may not grow over the limit."""
    await folder.put("k", b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(StoreFull, match=r"No room in .* for 'k'"):
            await _write(folder, streamed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await folder.get("k") == b"before"
    assert _temporary(tmp_path) == []


async def test_files_put_there_by_hand_are_objects(folder: Store, tmp_path: Path) -> None:
    """People drop files into the inbox with their file manager."""
    inbox = tmp_path / "store" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "50% a+b.jsonl").write_bytes(b"{}\n")
    (tmp_path / "elsewhere.jsonl").write_bytes(b"linked")
    (inbox / "link.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    (inbox / "loop").symlink_to(inbox)
    os.mkfifo(inbox / "pipe")
    assert [stat.key async for stat in folder.list("inbox/")] == ["inbox/50% a+b.jsonl", "inbox/link.jsonl"]
    assert await folder.get("inbox/50% a+b.jsonl") == b"{}\n"
    assert await folder.get("inbox/link.jsonl") == b"linked"
    for no_object in ("inbox/pipe", "inbox", "inbox/loop"):
        with pytest.raises(NotFound):
            await folder.get(no_object)
    await folder.delete("inbox/50% a+b.jsonl")
    await folder.delete("inbox/link.jsonl")
    assert inbox.is_dir()


async def test_an_input_that_grows_while_it_is_read_is_noticed(folder: Store, tmp_path: Path) -> None:
    """Somebody still copies into the inbox: half a batch must not pass for a whole one."""
    await folder.put("k", bytes(3 * MIB))

    async def read() -> None:
        async for _ in folder.read("k", block_bytes=MIB // 4):
            with (tmp_path / "store" / "k").open("ab") as file:
                file.write(b"more")

    with pytest.raises(Changed, match="'k'"):
        await read()


async def test_a_replaced_input_is_read_to_its_old_end(folder: Store) -> None:
    """A rename does not touch what is being read: its bytes are of one version."""
    await folder.put("k", b"a" * 3 * MIB)
    blocks = []
    async for block in folder.read("k", block_bytes=MIB):
        blocks.append(block)
        await folder.put("k", b"b" * 3 * MIB)
    assert b"".join(blocks) == b"a" * 3 * MIB


async def test_deleting_takes_empty_folders_along(folder: Store, tmp_path: Path) -> None:
    await folder.put("batches/b/parts/1", b"x", metadata={"a": "b"})
    await folder.delete("batches/b/parts/1")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".bucketline", "batches"]
    assert list((tmp_path / "store" / "batches").iterdir()) == []
    assert list((tmp_path / "store" / ".bucketline" / "metadata").iterdir()) == []


async def test_a_name_cannot_be_both_a_file_and_a_folder(folder: Store) -> None:
    await folder.put("a", b"x")
    with pytest.raises(StoreError, match="both a file and a folder"):
        await folder.put("a/b", b"y")
    await folder.put("c/d", b"x")
    with pytest.raises(StoreError, match="both a file and a folder"):
        await folder.put("c", b"y")
    await folder.delete("c/d")
    await folder.put("c", b"y")
    assert await folder.get("c") == b"y"


async def test_a_folder_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = open_store(str(tmp_path / "file" / "store"))
    with pytest.raises(StoreUnavailable, match="cannot be used: not a directory; check its rights"):
        await store.check()
    await store.close()


async def test_files_have_the_rights_that_the_user_chose(folder: Store, tmp_path: Path) -> None:
    """A colleague of the same group reads the results."""
    before = os.umask(0o027)
    try:
        await folder.put("k", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "store" / "k").stat().st_mode & 0o777 == 0o640
