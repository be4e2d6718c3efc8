"""``make chaos``: a batch through three workers while everything around them fails.

A batch of 10,000 lines, a real Redis, an S3 server, workers as processes of their own, simulated providers that keep books; and a
seeded plan of faults. At the end: every line once, no recorded answer bought again, the manifest equal to the books, and how long a
dead worker's shards lay about. ``--quick`` is the short form; ``--seeds N`` runs N storms in a row and writes a table.

    python -m tests.chaos.lines [--seed N] [--quick] [--seeds N] [--lines N] [--faults N] [--keep FOLDER] [--log FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.plan import Fault, make_plan
from tests.chaos.stage import BUCKET, Stage, a_stage, faketime_library, s3_client
from tests.chaos.storm import Storm
from tests.chaos.verdict import Verdict, judge
from tests.chaos.watch import Sightings, watch
from worker.tasks import end_tasks

WORKERS = 3
MOST_TAKE_UP_S = 20.0
STILL_S = 120.0  #: a batch in which nothing at all moves for so long hangs; a slow machine is no fault


@dataclass(frozen=True, slots=True)
class Size:
    """How large a storm is."""

    lines: int
    faults: int
    over_s: float
    lease_s: float
    rpm: int
    latency_s: float
    concurrency: int


FULL = Size(10_000, 36, 200.0, 15.0, 3000, 1.0, 100)
QUICK = Size(600, 16, 30.0, 3.0, 1200, 0.6, 40)


async def storm(seed: int, size: Size, folder: Path) -> Verdict:
    """One storm. Raises TimeoutError when nothing moves any more and the batch is not over."""
    without = frozenset() if faketime_library() else frozenset({Fault.CLOCK})
    plan = make_plan(
        seed, faults=size.faults, over_s=size.over_s, workers=WORKERS, lease_s=size.lease_s, without=without
    )
    source = folder / "in.jsonl"
    source.write_text("".join(_line(n) for n in range(1, size.lines + 1)))
    async with a_stage(
        folder, seed=seed, slots=WORKERS, lease_s=size.lease_s, concurrency=size.concurrency, rpm=size.rpm,
        latency_s=size.latency_s,
    ) as stage:  # fmt: skip
        books = await stage.books()
        seen = Sightings(books["age_s"] - time.monotonic())
        for worker in stage.workers:
            stage.start(worker)
        code, said = await stage.command("submit", str(source))
        assert code == 0, said
        batch_id = json.loads(said)["id"]
        raging = Storm(stage, batch_id, plan, seen, random.Random(seed))
        await _until_over(stage, batch_id, raging, seen)
        return await _judged(stage, batch_id, raging, seen, size, folder)


async def _until_over(stage: Stage, batch_id: str, raging: Storm, seen: Sightings) -> None:
    over = asyncio.Event()
    shards = await _shards(stage, batch_id)
    async with stage.direct as redis:
        looking = asyncio.create_task(watch(redis, batch_id, shards, seen))
        striking = asyncio.create_task(raging.rage(over))
        try:
            await _while_it_moves(stage, batch_id, raging, seen, striking)
            over.set()
            await striking
        finally:
            over.set()
            await end_tasks(looking, striking)


async def _while_it_moves(
    stage: Stage, batch_id: str, raging: Storm, seen: Sightings, striking: asyncio.Task[None]
) -> None:
    """Until the batch is over. Raises TimeoutError when nothing moves any more, and what the striking raises."""
    moved_s, before = time.monotonic(), None
    while not await _is_over(stage, batch_id):
        if striking.done():
            striking.result()
        now = (len(seen.recorded), len(seen.ended), len(raging.log), (await stage.books())["totals"]["calls"])
        if now != before:
            moved_s, before = time.monotonic(), now
        elif time.monotonic() - moved_s > STILL_S:
            raise TimeoutError(f"lines recorded, shards ended, faults and calls stand at {now}")
        await asyncio.sleep(0.5)


async def _shards(stage: Stage, batch_id: str) -> int:
    async with stage.direct as redis:
        return int(await redis.hget(f"bl:b:{batch_id}", "shards") or 0)  # type: ignore[misc]


async def _is_over(stage: Stage, batch_id: str) -> bool:
    """By the store: the manifest's being there means over."""
    return await asyncio.to_thread(_object, stage, f"batches/{batch_id}/manifest.json") is not None


def _object(stage: Stage, name: str) -> bytes | None:
    from botocore.exceptions import BotoCoreError, ClientError

    client = s3_client(stage.store_address)
    try:
        found: bytes = client.get_object(Bucket=BUCKET, Key=f"some/prefix/{name}")["Body"].read()
        return found
    except (ClientError, BotoCoreError):
        return None
    finally:
        client.close()


async def _judged(stage: Stage, batch_id: str, raging: Storm, seen: Sightings, size: Size, folder: Path) -> Verdict:
    code, _ = await stage.command("verify", batch_id, "--json")
    await stage.command("results", batch_id, "-o", str(folder / "out"))
    status, said = await stage.command("status", batch_id, "--json")
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    books = await stage.books(calls=True)
    verdict = judge(
        _rows(folder / "out" / "output.jsonl"),
        _rows(folder / "out" / "errors.jsonl"),
        manifest,
        books["providers"]["alpha"]["call_list"],
        seen,
        raging.struck,
        lines=size.lines,
        most_take_up_s=MOST_TAKE_UP_S,
    )
    told = {
        "log": raging.log,
        "recorded": seen.recorded,
        "taken": seen.taken,
        "calls": books["providers"]["alpha"]["call_list"],
    }
    (folder / "storm.json").write_text(json.dumps(told))
    verdict.faults = len([what for what in raging.done if not what.startswith("a worker that was told")])
    verdict.wrong += [what for what in raging.done if what.startswith("a worker that was told")]
    if code != 0:
        verdict.wrong.append("verify finds differences")
    shown = json.loads(said)["batches"][0] if status in (0, 1) else {}
    if shown.get("counts", {}).get("completed") != manifest["counts"]["completed"]:
        verdict.wrong.append(f"status shows {shown.get('counts')}, the manifest {manifest['counts']}")
    return verdict


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line] if path.exists() else []


def _line(number: int) -> str:
    body = {"model": "alpha/alpha-small", "messages": [{"role": "user", "content": f"tag:l{number} say something"}]}
    return json.dumps({"custom_id": f"l{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"


def _spread(values: list[float] | list[int]) -> str:
    return f"{max(values):.4g} at most, {sum(values) / len(values):.3g} on average" if values else "none"


def report(seed: int, verdict: Verdict, took_s: float) -> str:
    rows = [
        ("seed", seed),
        ("faults", verdict.faults),
        ("lines", verdict.lines),
        ("lines lost", verdict.lost),
        ("lines twice", verdict.twice),
        ("lines without an answer", verdict.failed),
        ("recorded answers bought again", verdict.bought_again),
        ("answers bought twice, in all", verdict.repeated),
        ("calls in flight at a worker's death", _spread(verdict.in_flight_at_death)),
        ("calls repeated per death", _spread(verdict.repeated_per_death)),
        ("calls repeated without a death", verdict.without_death),
        ("manifest, books of the same answers", f"{verdict.manifest_usd}, {verdict.books_usd} USD"),
        ("spent on answers that died with a worker", f"{verdict.lost_usd} USD"),
        ("a dead worker's shard taken up after", f"{_spread(verdict.take_up_s)} s ({len(verdict.take_up_s)} shards)"),
        ("seconds", f"{took_s:.0f}"),
    ]
    text = "\n".join(f"  {name:<42} {value}" for name, value in rows)
    return text + "".join(f"\n  WRONG: {sentence}" for sentence in verdict.wrong)


_COLUMNS = (
    "seed", "faults", "lines", "lost", "twice", "recorded, bought again", "answers bought twice", "in flight at deaths",
    "deaths", "as promised", "taken up after, s", "seconds",
)  # fmt: skip
TABLE_HEAD = ("| " + " | ".join(_COLUMNS) + " |", "|" + " ---: |" * len(_COLUMNS))


def table_row(seed: int, verdict: Verdict, took_s: float) -> str:
    taken = f"{max(verdict.take_up_s):.1f}" if verdict.take_up_s else "–"
    cells = (
        seed, verdict.faults, verdict.lines, verdict.lost, verdict.twice, verdict.bought_again, verdict.repeated,
        sum(verdict.in_flight_at_death), verdict.deaths,
        "yes" if not verdict.wrong else "; ".join(verdict.wrong),
        taken, f"{took_s:.0f}",
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.lines", description="A batch through a storm.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many storms in a row, from --seed on")
    parser.add_argument("--quick", action="store_true", help="the short form, under 90 s")
    parser.add_argument("--lines", type=int)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--keep", type=Path, help="leave the files of each storm under this folder")
    parser.add_argument("--log", type=Path, help="append a row for each storm to this table")
    options = parser.parse_args(arguments)
    if options.log and not options.log.exists():
        options.log.parent.mkdir(parents=True, exist_ok=True)
        options.log.write_text("\n".join(TABLE_HEAD) + "\n", encoding="utf-8")
    base = QUICK if options.quick else FULL
    changes = {name: value for name in ("lines", "faults") if (value := getattr(options, name)) is not None}
    size = Size(**{name: getattr(base, name) for name in Size.__slots__} | changes)
    if faketime_library() is None:
        _say("libfaketime is not installed: no worker's clock is set off.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us ends what we started
    bad = 0
    for seed in range(options.seed, options.seed + options.seeds):
        began_s = time.monotonic()
        verdict = _one(seed, size, options.keep)
        took_s = time.monotonic() - began_s
        bad += bool(verdict.wrong)
        _say(report(seed, verdict, took_s) if options.seeds == 1 else table_row(seed, verdict, took_s))
        if options.log:
            with options.log.open("a", encoding="utf-8") as log:
                log.write(table_row(seed, verdict, took_s) + "\n")
    return 1 if bad else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _one(seed: int, size: Size, keep: Path | None) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="bucketline-storm-") as temporary:
        folder = keep / f"seed-{seed}" if keep else Path(temporary)
        if keep:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return asyncio.run(storm(seed, size, folder))
        except TimeoutError as error:
            return Verdict(lines=size.lines, wrong=[f"nothing moves: {error}"])


if __name__ == "__main__":
    sys.exit(main())
