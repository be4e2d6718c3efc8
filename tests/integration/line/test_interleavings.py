"""Record, seal and merge by two claims of one shard, in any order, with broken steps and an emptied Redis among them.

The parts are the product's own: recorder, sealer, ledger on a real Redis, a folder, merge. A claim's process is a recorder and a
sealer of its own. What must hold at the end, whatever happened: every line is in the results once, in input order, and where
both claims bring the same answers the bytes are those of an undisturbed run.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from bucketline.batch import BatchDocument
from bucketline.connect import open_redis
from bucketline.failure import Code
from bucketline.layout import batch_document, errors_object, output_object, parts_prefix
from bucketline.ledger import ClaimLost, Extent, Ledger, LedgerGone, LinesLacking, OutOfStep
from bucketline.outcome import Outcome, encode_outcome
from bucketline.store import Store, open_store
from worker.merge import merge
from worker.openshard import OpenShard
from worker.record import Recorder
from worker.recover import recover
from worker.seal import Sealer

LINES = 4
BATCH = "batch_i"
EXPECTED = (LedgerGone, ClaimLost, OutOfStep, RedisConnectionError)

#: what a worker does with a shard, in its order
PROGRAM = ("claim", "put", "put", "commit", "seal", "put", "commit", "rest", "commit", "end")
DISTURBANCES = (
    "empty",
    "cut",
    "die",
    "claim",
    "commit",
    "seal",
    "end",
    "rest",
    "offer",
    "offer_beside",
    "empty_beside",
)
EMPTYING = ("empty", "empty_beside")

Steps = list[tuple[str, int, int]]


@st.composite
def interleavings(draw: st.DrawFn, disturbances: tuple[str, ...] = DISTURBANCES) -> Steps:
    """Two workers' programs, interleaved, cut off somewhere, with something odd here and there."""
    turns = draw(st.permutations([0] * len(PROGRAM) + [1] * len(PROGRAM)))
    done = [0, 0]
    steps: Steps = []
    for who in turns[: draw(st.integers(4, len(turns)))]:
        steps.append((PROGRAM[done[who]], who, draw(st.integers(1, LINES))))
        done[who] += 1
    for _ in range(draw(st.integers(0, 4))):
        odd = (draw(st.sampled_from(disturbances)), draw(st.integers(0, 1)), 1)
        steps.insert(draw(st.integers(0, len(steps))), odd)
    return steps


def document() -> BatchDocument:
    return BatchDocument(
        id=BATCH,
        source="x",
        created_s=0.0,
        lines=LINES,
        rejected=0,
        last_line=LINES,
        input_bytes=0,
        input_sha256="0" * 64,
        shards=[(1, 0, 0, LINES)],
    )


def outcome_of(line: int, by: str) -> Outcome:
    """Every third line fails, so that both files have lines."""
    failed = line % 3 == 0
    return Outcome(
        line=line,
        custom_id=f"r-{line}",
        requested_model="m",
        code=Code.BAD_RESPONSE if failed else None,
        message="no" if failed else None,
        attempts=(),
        status=200,
        body=b'{"by":"%s","line":%d}' % (by.encode(), line),
    )


class _Cut:
    """A ledger whose next seal is done, and the answer lost on the way."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def sealed(self, *args: Any) -> int:
        left = await self._ledger.sealed(*args)
        if self.cut:
            self.cut = False
            raise RedisConnectionError
        return left


class _Slow:
    """A store that takes its time: something else happens before the next part is written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, *args: Any) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        await self._store.put(*args)


@dataclass
class Process:
    """One worker's view of the shard."""

    name: str
    ledger: Any
    store: Any
    shard: OpenShard | None = None
    todo: set[int] = field(default_factory=set)
    recorder: Any = None
    sealer: Any = None

    async def claim(self) -> None:
        claim = await self.ledger.claim(BATCH, 0, 1, LINES)
        if claim is None:
            return
        self.recorder = Recorder(self.ledger, most_bytes=1 << 20)
        self.sealer = Sealer(self.ledger, self.store, self.recorder)
        self.shard = OpenShard(BATCH, 0, claim.generation, Extent(1, LINES, LINES))
        self.sealer.adopt(self.shard, claim.unsealed)
        known = set(claim.recorded)
        if claim.doubt:
            known |= await self.sealer.known(self.shard, known)
        self.todo = set(range(1, LINES + 1)) - known
        self.shard.pending = len(self.todo)
        self.shard.settle(0)

    def put(self, line: int, by: str) -> None:
        if self.shard is not None and line in self.todo:
            self.todo.discard(line)
            self.recorder.put(self.shard, outcome_of(line, by))

    async def commit(self) -> None:
        if self.shard is not None and BATCH in self.recorder._lines:
            await self.recorder._commit(BATCH, self.recorder._lines[BATCH])

    async def seal(self) -> None:
        if self.shard is not None:
            await self.sealer.seal(self.shard)

    async def offer(self) -> None:
        if self.shard is not None:
            self.shard.stale = True
            await self.sealer.bring_in_step(self.shard)

    async def offer_beside(self) -> None:
        await self.beside(self.offer)

    async def beside(self, step: Callable[[], Awaitable[None]]) -> None:
        """Seal, and the step while the part is being written."""

        async def quietly() -> None:
            with suppress(*EXPECTED):
                await step()

        self.store.meanwhile = quietly
        await self.seal()

    async def end(self) -> bool:
        """What the runner does when no line is pending; True when the shard has ended."""
        if self.shard is None or not self.shard.done.is_set():
            return False
        for _ in range(4):
            await self.sealer.seal(self.shard)
            try:
                await self.ledger.end_shard(BATCH, 0, self.shard.generation, self.shard.extent)
            except LinesLacking:
                return False
            except OutOfStep:
                self.shard.stale = True
            else:
                return True
        raise AssertionError("a shard that nobody else touches can be ended")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    fast = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    place = fast / f"bucketline-{tmp_path.name}"
    yield place
    shutil.rmtree(place, ignore_errors=True)


async def run(steps: Steps, redis: Redis, folder: Path, names: tuple[str, str]) -> Store:
    """Take the steps, then let a third worker bring the shard to its end, and merge."""
    await redis.flushall()
    shutil.rmtree(folder, ignore_errors=True)
    store = open_store(str(folder))
    queue = open_redis("unix://" + redis.connection_pool.connection_kwargs["path"])
    ledger = Ledger(queue)
    await store.put(batch_document(BATCH), document().model_dump_json().encode())
    await ledger.register(document())
    pair = [Process(name, _Cut(ledger), _Slow(store)) for name in names]
    for step, who, line in steps:
        with suppress(*EXPECTED):
            await _take(step, pair, who, line, redis, lambda: recover(BATCH, store, ledger, queue))
    for process in pair:
        with suppress(*EXPECTED):
            await process.commit()
    last = Process(names[0], _Cut(ledger), _Slow(store))
    await last.claim()
    for line in sorted(last.todo):
        last.put(line, names[0])
    await last.commit()
    await last.end()
    await merge(store, document())  # LinesMissing would fail the test: the last resort is for damaged parts alone
    await queue.aclose()
    return store


async def _take(step: str, pair: list[Process], who: int, line: int, redis: Redis, rebuild: Any) -> None:
    process = pair[who]
    if step == "put":
        process.put(line, process.name)
    elif step == "rest":
        for other in sorted(process.todo):
            process.put(other, process.name)
    elif step == "cut":
        process.ledger.cut = True
        await process.seal()
    elif step == "empty":
        await redis.flushall()
        await rebuild()
    elif step == "empty_beside":

        async def emptied() -> None:
            await redis.flushall()
            await rebuild()
            await process.offer()

        await process.beside(emptied)
    elif step == "die":
        pair[who] = Process(process.name, process.ledger, process.store)
    else:
        await getattr(process, step)()


async def lines_of(store: Store) -> list[bytes]:
    both = await store.get(output_object(BATCH)) + await store.get(errors_object(BATCH))
    return both.splitlines(keepends=True)


FIXTURES_LIVE_ON = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


#: the one that lost nothing had its lines from another, which Redis then forgot: it may not end the shard
FORGOTTEN_BY_REDIS: Steps = [
    *[(step, 0, 1) for step in ("claim", "put", "commit")],
    *[(step, 1, 1) for step in ("claim", "rest", "commit")],
    *[(step, 0, 1) for step in ("rest", "commit", "empty", "end")],
]


@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURES_LIVE_ON)
@example(FORGOTTEN_BY_REDIS)
@given(interleavings())
async def test_the_bytes_do_not_depend_on_who_did_what_when(redis_client: Redis, folder: Path, steps: Steps) -> None:
    store = await run(steps, redis_client, folder, ("same", "same"))
    answered = [line for line in range(1, LINES + 1) if line % 3]
    failed = [line for line in range(1, LINES + 1) if not line % 3]
    expected = [encode_outcome(BATCH, outcome_of(line, "same")) + b"\n" for line in answered + failed]
    assert await lines_of(store) == expected
    await store.close()


@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURES_LIVE_ON)
@given(interleavings())
async def test_every_line_is_there_once_and_merging_again_changes_nothing(
    redis_client: Redis, folder: Path, steps: Steps
) -> None:
    """Where the two bring different answers, one of them counts, and it counts for good."""
    store = await run(steps, redis_client, folder, ("one", "other"))
    found = await lines_of(store)
    answered = [line for line in range(1, LINES + 1) if line % 3]
    failed = [line for line in range(1, LINES + 1) if not line % 3]
    for line, raw in zip(answered + failed, found, strict=True):
        assert raw in {encode_outcome(BATCH, outcome_of(line, by)) + b"\n" for by in ("one", "other")}
    parts = [stat.key async for stat in store.list(parts_prefix(BATCH))]
    await merge(store, document())
    assert await lines_of(store) == found
    assert parts == [stat.key async for stat in store.list(parts_prefix(BATCH))]
    await store.close()


@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURES_LIVE_ON)
@given(interleavings(tuple(one for one in DISTURBANCES if one not in EMPTYING)))
async def test_without_an_emptied_redis_the_counters_are_those_of_the_lines(
    redis_client: Redis, folder: Path, steps: Steps
) -> None:
    """Progress and money move with the lines, once each, however often a step is repeated."""
    store = await run(steps, redis_client, folder, ("same", "same"))
    progress = await Ledger(redis_client).progress(BATCH)
    assert progress is not None
    assert progress.counts.done == LINES
    assert progress.waiting_shards == 0
    await store.close()
