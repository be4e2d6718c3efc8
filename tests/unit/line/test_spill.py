"""A line that has waited too long stands in two lines; whichever permit it does not use goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bucketline.catalog import Plan
from worker.spill import first_granted, patience_s


class Line:
    """A route's line: its permit comes when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = asyncio.Event()
        self.permit: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def wait(self) -> Awaitable[str]:
        self.asked.set()
        return self.permit

    def grant(self) -> None:
        self.permit.set_result(self.name)


@pytest.fixture
async def lines() -> list[Line]:
    return [Line("a"), Line("b"), Line("c")]


def waits(lines: list[Line]) -> list[Callable[[], Awaitable[str]]]:
    return [line.wait for line in lines]


async def test_a_patient_line_asks_only_the_first_route(lines: list[Line]) -> None:
    given_back: list[str] = []
    task = asyncio.ensure_future(first_granted(waits(lines), 60.0, given_back.append))
    await lines[0].asked.wait()
    lines[0].grant()
    assert await task == (0, "a")
    assert not lines[1].asked.is_set()
    assert given_back == []


async def test_an_impatient_line_keeps_its_place_at_the_first_route(lines: list[Line]) -> None:
    """Spilling over must not send it to the end of the first line, should that be quicker after all."""
    given_back: list[str] = []
    task = asyncio.ensure_future(first_granted(waits(lines), 0.0, given_back.append))
    await lines[1].asked.wait()
    lines[0].grant()
    assert await task == (0, "a")
    assert lines[1].permit.cancelled()


async def test_permits_that_come_together_are_used_once_and_the_other_goes_back(lines: list[Line]) -> None:
    given_back: list[str] = []
    task = asyncio.ensure_future(first_granted(waits(lines), 0.0, given_back.append))
    await lines[2].asked.wait()
    lines[1].grant()
    lines[2].grant()
    assert await task == (1, "b")
    await asyncio.sleep(0)
    assert given_back == ["c"]


async def test_a_line_that_is_cancelled_leaves_every_line(lines: list[Line]) -> None:
    given_back: list[str] = []
    task = asyncio.ensure_future(first_granted(waits(lines), 0.0, given_back.append))
    await lines[1].asked.wait()
    lines[0].grant()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert given_back == ["a"]
    assert lines[1].permit.cancelled()


async def test_a_route_that_refuses_leaves_the_others_standing(lines: list[Line]) -> None:
    task = asyncio.ensure_future(first_granted(waits(lines[:2]), 0.0, lambda _: None))
    await lines[1].asked.wait()
    lines[0].permit.set_exception(LookupError("spent"))
    await asyncio.sleep(0)
    lines[1].grant()
    assert await task == (1, "b")


async def test_where_all_refuse_the_first_ones_word_counts(lines: list[Line]) -> None:
    for line in lines:
        line.permit.set_exception(LookupError(line.name))
    with pytest.raises(LookupError, match="a"):
        await first_granted(waits(lines), 60.0, lambda _: None)


def test_patience_ends_when_the_plan_says_so_and_near_the_deadline_in_any_case() -> None:
    calm, spilling = Plan("m", (), spill_after_s=30.0), Plan("m", (), spill=True, spill_after_s=30.0)
    assert patience_s(calm, None) is None
    assert patience_s(calm, 600.0) == 570.0
    assert patience_s(calm, 10.0) == 0.2
    assert patience_s(spilling, None) == 30.0
    assert patience_s(spilling, 40.0) == 10.0
