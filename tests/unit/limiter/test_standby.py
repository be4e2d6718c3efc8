"""How many should stand by for the next free place, and who goes when one is free."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from worker.limiter.permits import Books
from worker.limiter.standby import Standby
from worker.limiter.waiters import Waiter


class Place:
    """A lane's books with calls in flight, on a clock that only the test moves."""

    def __init__(self, flying: int) -> None:
        self.now = 0.0
        self.books = Books(lambda: None)
        self.standby = Standby(self.books, lambda: self.now)
        self.flying = [self.books.permit(waiter(), (1, 1), 0, budgeted=False) for _ in range(flying)]
        self.standby.places = flying

    def stand_by(self, one: Waiter) -> Waiter:
        self.standby.push(one, self.books.permit(one, (1, 1), 0, budgeted=False, ahead=True))
        return one

    def end(self) -> None:
        self.books.settle(self.flying.pop(), 1, 1, None)


def waiter() -> Waiter:
    future: Any = Future()
    return Waiter(future, 1, 1, 0, "b", 0, 0.0)


def test_as_many_as_calls_end_until_the_next_words_with_redis() -> None:
    place = Place(4)
    place.standby.wanted(place.now)
    for _ in range(20):
        place.now += 0.05
        place.books.ended = 4  # eighty a second
        more = place.standby.wanted(place.now)
    assert 6 <= more <= 8
    place.stand_by(waiter())
    place.books.ended = 4
    place.now += 0.05
    assert place.standby.wanted(place.now) == more - 1, "who stands by already is counted"


def test_where_calls_are_long_nobody_stands_by() -> None:
    """A charge would be taken and given back again and again, to save a thousandth."""
    place = Place(4)
    for _ in range(20):
        place.now += 1.0
        place.books.ended = 2
        assert place.standby.wanted(place.now) == 0


def test_one_goes_for_each_call_that_ends_in_order_and_only_then() -> None:
    place = Place(2)
    first, second, third = (place.stand_by(waiter()) for _ in range(3))
    place.standby.hand_on()
    assert not first.future.done()
    place.end()
    assert first.future.done()
    assert not second.future.done()
    second.future.cancel()
    place.end()
    assert third.future.done(), "who was cancelled is passed over"
    assert place.books.holding == 2


def test_who_has_stood_by_for_too_long_does_not_go() -> None:
    """What it was charged lies in a minute that the provider would no longer count it in."""
    place = Place(1)
    late = place.stand_by(waiter())
    place.now += 0.3
    place.end()
    assert not late.future.done()
    assert place.standby.take_back(place.now) == [late]
    assert (place.books.holding, len(place.standby)) == (0, 0)
