"""A process takes what it has room for, and always a first shard of a batch that is new to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.take import batch_of_job, choose, lines_of_job

JOBS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 120)), unique=True).map(
    lambda pairs: [f"bl:{batch}:{shard}" for batch, shard in pairs]
)


@given(JOBS, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)), st.integers(-100, 1000))
def test_order_is_kept_and_room_is_respected(jobs: list[str], open_shards: dict[str, int], room: int) -> None:
    """Whatever size the shards further back have: a process opens no more than one beyond what it has room for."""
    chosen = choose(jobs, open_shards, room)
    assert chosen == [job for job in jobs if job in set(chosen)]
    seen = {batch for batch, count in open_shards.items() if count}
    for job in chosen:
        assert room > 0 or batch_of_job(job) not in seen
        room -= lines_of_job(job) if room > 0 else 0
        seen.add(batch_of_job(job))


def test_a_small_batch_starts_behind_a_full_house() -> None:
    jobs = [f"bl:big:{n}" for n in range(50)] + ["bl:small:0", "bl:small:1"]
    assert choose(jobs, {"big": 60}, 0) == ["bl:small:0"]


def test_the_finish_of_a_batch_needs_no_room() -> None:
    assert choose(["bl:a:finish", "bl:b:3"], {"b": 1}, 0) == ["bl:a:finish"]


def test_what_the_dead_had_begun_waits_for_no_room_but_is_bounded() -> None:
    """Their last answers lie in Redis alone until somebody has them; but one process cannot take over a whole fleet."""
    jobs = [f"bl:a:{n}" for n in range(100, 120)]
    lines = lines_of_job(jobs[0])
    assert choose(jobs, {"a": 1}, 0, begun=set(jobs[5:]), spare_lines=2 * lines) == jobs[5:7]
    assert choose(jobs, {"a": 1}, -2 * lines, begun=set(jobs), spare_lines=2 * lines) == []
