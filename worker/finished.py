"""A run on this machine that had come to its end before: it is neither paid for again nor written over.

Comes in: what ``run`` was told. Goes out: the manifest of that run, where ``--resume`` has nothing to go on with; a refusal,
where other results lie there. Called by ``screen``; changes nothing but what a finished run had no time to remove.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from bucketline.errors import UsageError
from bucketline.manifest import BadManifest, Manifest
from bucketline.store import NotFound, open_store
from producer.source import open_source
from worker.local import WORK_FOLDER, LocalRun, resumed

__all__ = ["finished_before"]


async def finished_before(run: LocalRun) -> Manifest | None:
    """The manifest of a run of the same file that had come to its end; None where there is something to do.

    Raises UsageError where this run would write over what lies there, and the errors of the store that the results go to.
    """
    work = run.folder / WORK_FOLDER
    raw = await _manifest_at(run)
    if raw is None:
        return None
    other = "give another folder" if run.to is None else "give another address"
    try:
        found = Manifest.parse(raw)
    except BadManifest:
        raise UsageError(f"{run.place} holds a manifest.json that is not a run's; {other}, or move it away.") from None
    if resumed(work) not in (None, found.id):
        return None  # another batch was begun over these results
    if not run.resume or Path(found.source).name != Path(run.source).name:
        raise UsageError(f"{run.place} holds the results of {found.source}; {other}, or move them away.")
    if not await _is_unchanged(run, found):
        raise UsageError(f"{run.place} holds the results of {found.source} as it was; {other}, or move them away.")
    shutil.rmtree(work, ignore_errors=True)  # the manifest is moved last: what is still here was to be removed
    return found


async def _manifest_at(run: LocalRun) -> bytes | None:
    """The manifest that lies where the results are to go, folder or bucket; None where there is none."""
    if run.to is None:
        path = run.folder / "manifest.json"
        return path.read_bytes() if path.is_file() else None
    to = open_store(run.to)
    try:
        return await to.get("manifest.json")
    except NotFound:
        return None
    finally:
        await to.close()


async def _is_unchanged(run: LocalRun, found: Manifest) -> bool:
    """Whether the file is still what was answered. A pipe cannot be asked; repeated ids are stored under other names."""
    if run.source == "-":
        return False
    stated = found.files.get("input.jsonl")
    if run.number_duplicates or stated is None:
        return True
    digest = hashlib.sha256()
    store = open_store(str(run.folder))
    try:
        async with open_source(run.source, store) as source:
            async for block in source.blocks:
                digest.update(block)
    finally:
        await store.close()
    return digest.hexdigest() == stated.sha256
