"""Places are shared fairly between batches and none is ever lost."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.turnstile import Turnstile


async def test_a_newcomer_passes_after_one_of_each_other_batch() -> None:
    turnstile = Turnstile(1)
    await turnstile.enter("big", 5)
    order: list[str] = []

    async def line(batch: str) -> None:
        await turnstile.enter(batch, 5)
        order.append(batch)
        turnstile.leave()

    tasks = [asyncio.create_task(line("big")) for _ in range(50)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(line("small")))
    await asyncio.sleep(0)
    turnstile.leave()
    await asyncio.gather(*tasks)
    assert order.index("small") <= 1
    assert turnstile.free == 1


async def test_nobody_passes_under_a_lease_that_may_have_run_out() -> None:
    """A process that was stopped wakes up with lines that have their permits: another worker may be asking them by now."""
    turnstile, fresh = Turnstile(2), False
    turnstile.leased = lambda: fresh
    assert not turnstile.try_enter()
    line = asyncio.create_task(turnstile.enter("a", 5))
    await asyncio.sleep(0)
    assert turnstile.in_flight == 0
    fresh = True
    turnstile.look()
    await line
    assert turnstile.in_flight == 1
    assert turnstile.try_enter()


async def test_a_higher_priority_goes_first() -> None:
    turnstile = Turnstile(1)
    await turnstile.enter("a", 5)
    order: list[str] = []

    async def line(batch: str, priority: int) -> None:
        await turnstile.enter(batch, priority)
        order.append(batch)
        turnstile.leave()

    tasks = [asyncio.create_task(line("low", 1)), asyncio.create_task(line("high", 9))]
    await asyncio.sleep(0)
    turnstile.leave()
    await asyncio.gather(*tasks)
    assert order == ["high", "low"]


async def test_permits_are_asked_for_places_that_will_be_free_by_the_time_they_come() -> None:
    """With places that are free now alone, each place stands empty from the end of its call until the next permits come."""
    now_s = 0.0
    turnstile = Turnstile(100, lambda: now_s)
    for _ in range(100):
        await turnstile.enter("b", 5)
    assert turnstile.soon() == 0, "nothing has ended yet, so nobody can say what will"
    for _ in range(20):
        now_s += 0.1
        for _ in range(50):  # 500 a second end, and as many begin
            turnstile.leave()
            await turnstile.enter("b", 5)
        turnstile.soon()
    assert 20 <= turnstile.soon() <= 40
    waiting = [asyncio.create_task(turnstile.enter("b", 5)) for _ in range(30)]
    await asyncio.sleep(0)
    assert turnstile.soon() <= 10, "those who wait with a permit are counted off"
    now_s += 60.0
    assert turnstile.soon() == 0, "the provider has fallen silent"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["enter", "leave", "cancel", "step"]), max_size=60), st.integers(1, 3))
def test_no_place_is_lost_however_waiters_are_cancelled(steps: list[str], places: int) -> None:
    async def story() -> None:
        turnstile = Turnstile(places)
        waiting: list[asyncio.Task[None]] = []
        for number, step in enumerate(steps):
            if step == "enter":
                waiting.append(asyncio.create_task(turnstile.enter(f"b{number % 3}", number % 2)))
            elif step == "cancel" and waiting:
                waiting[number % len(waiting)].cancel()
            elif step == "leave" and any(t.done() and not t.cancelled() for t in waiting):
                holder = next(t for t in waiting if t.done() and not t.cancelled())
                waiting.remove(holder)
                turnstile.leave()
            else:
                await asyncio.sleep(0)
            assert turnstile.in_flight <= places
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        holders = sum(1 for task in waiting if not task.cancelled())
        assert turnstile.in_flight == holders

    asyncio.run(story())
