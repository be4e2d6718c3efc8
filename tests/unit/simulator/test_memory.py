"""Repeats are recognised among the youngest requests, and memory stays bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.simulator.memory import Memory


@given(st.lists(st.integers(0, 20), max_size=200))
def test_a_key_used_lately_is_counted_exactly_and_never_more_than_twice_as_many_are_kept(keys: list[int]) -> None:
    memory, true = Memory(5), dict.fromkeys(range(21), 0)
    for position, key in enumerate(keys):
        before = memory.seen(b"%d" % key)
        assert before <= true[key]
        if key in keys[:position] and len(set(keys[position - keys[:position][::-1].index(key) : position])) < 5:
            assert before > 0
        true[key] += 1
        assert len(memory._young) + len(memory._old) <= 10
