"""The ledger on a real Redis: a line is recorded once, counters move with it, and an old claim can harm nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from bucketline import keys
from bucketline.batch import BatchDocument, BatchOptions, State
from bucketline.ledger import ClaimLost, Deltas, Extent, Ledger, LedgerGone, LinesLacking, OutOfStep, ShardGroup
from bucketline.part import Entry
from bucketline.queue import mark_of

ONE = Deltas(completed=1, attempts=1, nanousd=1000, tokens=15)
EXTENTS = [Extent(1 + 10 * n, 10 + 10 * n, 10) for n in range(3)]
FAILED = Deltas(failed=1, attempts=4, unpriced=1)


def a_batch(batch_id: str = "batch_a", shards: int = 3, lines_per_shard: int = 10) -> BatchDocument:
    return BatchDocument(
        id=batch_id,
        source="x.jsonl",
        created_s=1000.0,
        options=BatchOptions(),
        lines=shards * lines_per_shard,
        rejected=0,
        last_line=shards * lines_per_shard,
        input_bytes=0,
        input_sha256="0" * 64,
        shards=[(1 + n * lines_per_shard, 0, 0, lines_per_shard) for n in range(shards)],
    )


def entries(*lines: int, mark: str = "a") -> list[Entry]:
    return [Entry(line, True, b'{"by":"%s","line":%d}' % (mark.encode(), line)) for line in lines]


@pytest.fixture
async def ledger(redis_client: Redis) -> Ledger:
    ledger = Ledger(redis_client)
    assert await ledger.register(a_batch())
    return ledger


async def record(ledger: Ledger, shard: int, *lines: int, mark: str = "a") -> tuple[int, ...]:
    group = ShardGroup(shard, entries(*lines, mark=mark), [ONE] * len(lines))
    (recorded,) = await ledger.record("batch_a", [group]) or []
    return recorded.refused


async def test_the_first_outcome_of_a_line_counts_whoever_brings_it(ledger: Ledger) -> None:
    assert await record(ledger, 0, 1, 2, mark="first") == ()
    assert await record(ledger, 0, 2, 3, mark="second") == (0,)
    assert [entry.encoded for entry in await ledger.unsealed("batch_a", 0)] == [
        b'{"by":"first","line":1}',
        b'{"by":"first","line":2}',
        b'{"by":"second","line":3}',
    ]
    progress = await ledger.progress("batch_a")
    assert progress is not None
    assert (progress.counts.completed, progress.nanousd, progress.tokens) == (3, 3000, 45)


async def test_a_group_of_several_shards_is_one_step(ledger: Ledger) -> None:
    groups = [ShardGroup(0, entries(1, 2), [ONE, FAILED]), ShardGroup(1, entries(11), [ONE])]
    recorded = await ledger.record("batch_a", groups)
    assert recorded is not None
    assert [r.unsealed for r in recorded] == [2, 1]
    progress = await ledger.progress("batch_a")
    assert progress is not None
    assert (progress.counts.completed, progress.counts.failed, progress.attempts, progress.unpriced) == (2, 1, 6, True)


async def test_a_claim_finds_what_is_recorded_and_what_is_unsealed(ledger: Ledger) -> None:
    await record(ledger, 1, 12, 15)
    claim = await ledger.claim("batch_a", 1, 11, 20)
    assert claim is not None
    assert claim.recorded == {12, 15}
    assert [entry.line for entry in claim.unsealed] == [12, 15]


async def test_generations_grow_also_after_redis_was_emptied(ledger: Ledger, redis_client: Redis) -> None:
    first = await ledger.claim("batch_a", 0, 1, 10)
    second = await ledger.claim("batch_a", 0, 1, 10)
    await redis_client.flushall()
    await ledger.register(a_batch())
    third = await ledger.claim("batch_a", 0, 1, 10)
    assert first
    assert second
    assert third
    assert first.generation < second.generation < third.generation


async def test_an_old_claim_neither_seals_nor_ends(ledger: Ledger) -> None:
    old = await ledger.claim("batch_a", 0, 1, 10)
    new = await ledger.claim("batch_a", 0, 1, 10)
    assert old
    assert new
    await record(ledger, 0, *range(1, 11))
    with pytest.raises(ClaimLost):
        await ledger.sealed("batch_a", 0, old.generation, entries(*range(1, 11)))
    with pytest.raises(ClaimLost):
        await ledger.end_shard("batch_a", 0, old.generation, EXTENTS[0])
    assert len(await ledger.unsealed("batch_a", 0)) == 10
    assert await ledger.sealed("batch_a", 0, new.generation, entries(*range(1, 11))) == 0
    assert await ledger.end_shard("batch_a", 0, new.generation, EXTENTS[0]) == 2


async def test_a_shard_does_not_end_with_lines_that_no_part_holds(ledger: Ledger) -> None:
    """Another claim may have recorded some meanwhile: whoever ends the shard must have sealed those too."""
    claim = await ledger.claim("batch_a", 0, 1, 10)
    assert claim
    await record(ledger, 0, *range(1, 11))
    with pytest.raises(OutOfStep):
        await ledger.end_shard("batch_a", 0, claim.generation, EXTENTS[0])
    await ledger.sealed("batch_a", 0, claim.generation, entries(*range(1, 11)))
    assert await ledger.end_shard("batch_a", 0, claim.generation, EXTENTS[0]) == 2


@pytest.mark.parametrize("lacking", range(11, 21))
async def test_a_shard_does_not_end_with_lines_that_have_no_outcome(ledger: Ledger, lacking: int) -> None:
    """Redis may have forgotten what another worker recorded and this one therefore did not ask."""
    claim = await ledger.claim("batch_a", 1, 11, 20)
    assert claim
    await record(ledger, 0, 8, 9, 10)
    await record(ledger, 2, 21, 22, 23)
    lines = [line for line in range(11, 21) if line != lacking]
    await record(ledger, 1, *lines)
    await ledger.sealed("batch_a", 1, claim.generation, entries(*lines))
    with pytest.raises(LinesLacking):
        await ledger.end_shard("batch_a", 1, claim.generation, EXTENTS[1])
    await record(ledger, 1, lacking)
    await ledger.sealed("batch_a", 1, claim.generation, entries(lacking))
    assert await ledger.end_shard("batch_a", 1, claim.generation, EXTENTS[1]) == 2


async def test_nothing_is_recorded_in_a_shard_that_has_ended(ledger: Ledger, redis_client: Redis) -> None:
    """A worker that wakes up late would leave an outcome that no part ever holds, and count it."""
    generation = await _ended(ledger, 0)
    assert generation
    await redis_client.setbit(keys.batch_done("batch_a"), 4, 0)
    assert await record(ledger, 0, 4) == (0,)
    progress = await ledger.progress("batch_a")
    assert progress is not None
    assert progress.counts.done == 10


async def _ended(ledger: Ledger, shard: int) -> int:
    """Bring a shard to its end; the generation that did."""
    lines = range(1 + 10 * shard, 11 + 10 * shard)
    claim = await ledger.claim("batch_a", shard, lines[0], lines[-1])
    assert claim
    await record(ledger, shard, *lines)
    await ledger.sealed("batch_a", shard, claim.generation, entries(*lines))
    await ledger.end_shard("batch_a", shard, claim.generation, EXTENTS[shard])
    return claim.generation


async def test_a_seal_that_is_asked_for_twice_drops_nothing_else(ledger: Ledger) -> None:
    """A connection that breaks after the script ran tells nobody so; by then another line is first in the list."""
    claim = await ledger.claim("batch_a", 0, 1, 10)
    assert claim
    await record(ledger, 0, 1, 2, 3)
    assert await ledger.sealed("batch_a", 0, claim.generation, entries(1, 2)) == 1
    with pytest.raises(OutOfStep):
        await ledger.sealed("batch_a", 0, claim.generation, entries(1, 2))
    assert [entry.line for entry in await ledger.unsealed("batch_a", 0)] == [3]


async def test_a_claim_that_redis_forgot_stands_again(ledger: Ledger, redis_client: Redis) -> None:
    """An emptied Redis knows no claims; the worker that lives and has the shard goes on."""
    claim = await ledger.claim("batch_a", 0, 1, 10)
    assert claim
    await redis_client.flushall()
    await ledger.register(a_batch(), rebuilt=True)
    await record(ledger, 0, 1)
    assert await ledger.sealed("batch_a", 0, claim.generation, entries(1)) == 0
    later = await ledger.claim("batch_a", 0, 1, 10)
    assert later
    assert later.generation > claim.generation


async def test_claims_know_when_the_store_must_be_asked(ledger: Ledger, redis_client: Redis) -> None:
    """A first claim of a ledger that was always there need not look; one after another, or after recovery, must."""
    first, second = await ledger.claim("batch_a", 0, 1, 10), await ledger.claim("batch_a", 0, 1, 10)
    assert first
    assert second
    assert (first.doubt, second.doubt) == (False, True)
    await ledger.register(a_batch("batch_r"), rebuilt=True)
    third = await ledger.claim("batch_r", 0, 1, 10)
    assert third
    assert third.doubt
    await redis_client.hset(keys.batch_hash("batch_a"), "run", "another server")  # type: ignore[misc]
    fourth = await ledger.claim("batch_a", 1, 11, 20)
    assert fourth
    assert fourth.doubt


async def test_claims_that_end_in_no_word_are_counted(ledger: Ledger) -> None:
    """A shard whose workers keep dying is worked off in isolation; one that is handed back in order is not."""
    for expected in (0, 1, 2):
        claim = await ledger.claim("batch_a", 0, 1, 10)
        assert claim
        assert claim.strikes == expected
    await ledger.release("batch_a", 0)
    claim = await ledger.claim("batch_a", 0, 1, 10)
    assert claim
    assert claim.strikes == 2


async def test_a_lease_has_one_owner(ledger: Ledger, redis_client: Redis) -> None:
    """arq's mark says only that somebody has the job; whoever puts his name there first has it."""
    mark = mark_of(keys.shard_job_id("batch_a", 0))
    await redis_client.set(mark, "1")
    (a,) = (await ledger.renew("worker-a", 10, [("batch_a", 0)])).standings
    (b,) = (await ledger.renew("worker-b", 10, [("batch_a", 0)])).standings
    assert (a.ours, b.ours) == (True, False)
    with pytest.raises(ClaimLost):
        await ledger.claim("batch_a", 0, 1, 10, "worker-b")
    assert await ledger.claim("batch_a", 0, 1, 10, "worker-a")
    assert 5000 < await redis_client.pttl(mark) <= 10000


async def test_lines_of_parts_that_redis_forgot_are_counted_and_stay_where_they_are(ledger: Ledger) -> None:
    group = ShardGroup(0, entries(1, 2), [ONE, ONE], in_parts=True)
    (recorded,) = await ledger.record("batch_a", [group]) or []
    assert (recorded.unsealed, recorded.refused) == (0, ())
    claim = await ledger.claim("batch_a", 0, 1, 10)
    assert claim
    assert claim.recorded == {1, 2}


async def test_shards_that_lack_lines_are_opened_again(ledger: Ledger) -> None:
    """The last resort: what a part should hold and does not is asked again, and nothing else."""
    await record(ledger, 0, *range(1, 11))
    claim = await ledger.claim("batch_a", 0, 1, 10)
    assert claim
    await ledger.sealed("batch_a", 0, claim.generation, claim.unsealed)
    await ledger.end_shard("batch_a", 0, claim.generation, EXTENTS[0])
    await ledger.reopen("batch_a", {0: [3, 4]}, {"completed": 8})
    assert await ledger.shards_left("batch_a") == (3, {0, 1, 2})
    again = await ledger.claim("batch_a", 0, 1, 10)
    assert again
    assert again.recorded == {1, 2, 5, 6, 7, 8, 9, 10}


async def test_the_manifest_has_the_last_word(ledger: Ledger, redis_client: Redis) -> None:
    """Whatever Redis thought of the state and the sums; and nothing that only a running batch needs stays."""
    await record(ledger, 0, 1)
    await ledger.claim("batch_a", 0, 1, 10)
    await ledger.finish("batch_a", State.COMPLETED, 2000.0, counters={"completed": 29, "failed": 1}, shards=3)
    progress = await ledger.progress("batch_a")
    assert progress is not None
    assert (progress.state, progress.counts.completed, progress.counts.failed) == (State.COMPLETED, 29, 1)
    left = {key.decode() for key in await redis_client.keys("bl:*")}
    assert left == {keys.BATCHES, keys.batch_hash("batch_a")}


async def test_a_shard_ends_once(ledger: Ledger) -> None:
    generation = await _ended(ledger, 2)
    assert await ledger.end_shard("batch_a", 2, generation, EXTENTS[2]) == 2
    assert await ledger.claim("batch_a", 2, 21, 30) is None
    assert await ledger.shards_left("batch_a") == (2, {0, 1})


async def test_states_follow_the_table_and_terminal_ones_stay(ledger: Ledger) -> None:
    assert await ledger.move("batch_a", State.CANCELLING) is State.CANCELLING
    assert await ledger.move("batch_a", State.FINALIZING) is State.CANCELLING
    await ledger.finish("batch_a", State.CANCELLED, 2000.0)
    assert await ledger.move("batch_a", State.IN_PROGRESS) is State.CANCELLED
    assert await ledger.claim("batch_a", 0, 1, 10) is None
    assert await ledger.record("batch_a", [ShardGroup(0, entries(1), [ONE])]) is None


async def test_a_ledger_that_is_gone_is_said(ledger: Ledger, redis_client: Redis) -> None:
    await redis_client.flushall()
    with pytest.raises(LedgerGone):
        await ledger.claim("batch_a", 0, 1, 10)
    with pytest.raises(LedgerGone):
        await ledger.record("batch_a", [ShardGroup(0, entries(1), [ONE])])
    assert await ledger.progress("batch_a") is None


async def test_registering_twice_changes_nothing(ledger: Ledger) -> None:
    await record(ledger, 0, 1)
    assert not await ledger.register(a_batch())
    progress = await ledger.progress("batch_a")
    assert progress is not None
    assert progress.counts.completed == 1


async def test_rejects_count_as_failed_and_are_never_claimed(redis_client: Redis) -> None:
    ledger = Ledger(redis_client)
    document = a_batch("batch_r").model_copy(update={"rejected": 2})
    await ledger.register(document, recorded=[3, 7])
    claim = await ledger.claim("batch_r", 0, 1, 10)
    assert claim is not None
    assert claim.recorded == {3, 7}
    progress = await ledger.progress("batch_r")
    assert progress is not None
    assert progress.counts.failed == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(1, 30), unique=True, min_size=1, max_size=8), min_size=1, max_size=12))
async def test_counters_equal_the_lines_in_any_interleaving(redis_client: Redis, groups: list[list[int]]) -> None:
    """Two claims record overlapping lines in any order: the sums are those of the distinct lines."""
    await redis_client.flushall()
    ledger = Ledger(redis_client)
    await ledger.register(a_batch())
    for lines in groups:
        await ledger.record("batch_a", [ShardGroup(0, entries(*lines), [ONE] * len(lines))])
    distinct = {line for lines in groups for line in lines}
    progress = await ledger.progress("batch_a")
    assert progress is not None
    assert progress.counts.completed == len(distinct)
    assert progress.nanousd == 1000 * len(distinct)
    assert sorted(entry.line for entry in await ledger.unsealed("batch_a", 0)) == sorted(distinct)


async def test_waiting_lines_cost_redis_little(redis_client: Redis) -> None:
    """A million lines fit in any Redis: under 20 bytes a waiting line, tickets and all."""
    from bucketline.connect import open_redis
    from bucketline.queue import enqueue_shards
    from bucketline.shard import Shard, lines_of_shard

    before = (await redis_client.info("memory"))["used_memory"]
    address = redis_client.connection_pool.connection_kwargs["path"]
    queue = open_redis(f"unix://{address}")
    shards, line = [], 1
    while line < 200_000:
        lines = lines_of_shard(len(shards))
        shards.append(Shard(len(shards), line, line * 1000, lines * 1000, lines))
        line += lines
    await enqueue_shards(queue, "batch_a", shards, 5)
    await queue.aclose()
    after = (await redis_client.info("memory"))["used_memory"]
    assert await redis_client.zcard(keys.QUEUE) == len(shards)
    assert (after - before) / line < 20


async def test_a_claim_says_whether_another_was_there_before(ledger: Ledger) -> None:
    """Whose worker may live and record its answers late: the heir looks each line up before it calls."""
    first = await ledger.claim("batch_a", 0, 1, 10, "one")
    heir = await ledger.claim("batch_a", 0, 1, 10, "one")
    assert first is not None
    assert heir is not None
    assert (first.inherited, heir.inherited) == (False, True)
    assert not await ledger.is_recorded("batch_a", 4)
    await record(ledger, 0, 4)
    assert await ledger.is_recorded("batch_a", 4)
