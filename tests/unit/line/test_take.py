"""A process takes what it has room for, and always a first shard of a batch that is new to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.take import choose

JOBS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30)), unique=True).map(
    lambda pairs: [f"bl:{batch}:{shard}" for batch, shard in pairs]
)


@given(JOBS, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)), st.integers(-100, 1000))
def test_order_is_kept_and_room_is_respected(jobs: list[str], open_shards: dict[str, int], room: int) -> None:
    chosen = choose(jobs, open_shards, room, 50)
    assert chosen == [job for job in jobs if job in set(chosen)]
    by_room = max(0, -(-room // 50))
    assert len(chosen) <= by_room + 4


def test_a_small_batch_starts_behind_a_full_house() -> None:
    jobs = [f"bl:big:{n}" for n in range(50)] + ["bl:small:0", "bl:small:1"]
    assert choose(jobs, {"big": 60}, 0, 50) == ["bl:small:0"]


def test_the_finish_of_a_batch_needs_no_room() -> None:
    assert choose(["bl:a:finish", "bl:b:3"], {"b": 1}, 0, 50) == ["bl:a:finish"]
