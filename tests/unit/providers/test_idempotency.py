"""A key stands for one request: the same bytes to the same place, for as long as nobody has answered them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.providers import Call
from worker.providers.idempotency import known_again

CALL = Call("https://host.test/v1/chat/completions", {"X-Client-Request-Id": "row-1_1"}, b"{}")


def key(call: Call, place: str = "row-1_0") -> str:
    return known_again(call, "Idempotency-Key", place).headers["Idempotency-Key"]


def test_the_key_follows_from_the_call_alone_so_that_the_next_worker_has_it_too() -> None:
    """The call's own id counts attempts, and so is another one each time; the key is not made of it."""
    again = replace(CALL, headers={"X-Client-Request-Id": "row-1_2"})
    assert key(CALL) == key(again)
    assert known_again(CALL, "Idempotency-Key", "row-1_0").headers["X-Client-Request-Id"] == "row-1_1"
    assert key(CALL).isalnum()


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (CALL, "row-1_1"),
        (CALL, "row-2_0"),
        (replace(CALL, body=b'{"n":2}'), "row-1_0"),
        (replace(CALL, url="https://host.test/v2/chat/completions"), "row-1_0"),
    ],
)
def test_what_was_answered_or_differs_has_another_key(call: Call, place: str) -> None:
    """Hosts refuse a key that comes with another body, and repeat an old answer for one that comes again."""
    assert key(call, place) != key(CALL)
