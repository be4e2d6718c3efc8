"""A call that reasons is not sent again blindly once it may have been billed."""

from __future__ import annotations

from typing import Any

import pytest

from bucketline.failure import Failure, Kind
from bucketline.request import Form, Request
from tests.unit.line.routes_for_tests import a_route
from worker.reasons import asks_to_reason, repeats_safely


@pytest.mark.parametrize(
    ("params", "reasons"),
    [
        ({}, False),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "minimal"}, False),
        ({"reasoning": {"effort": "medium"}}, True),
        ({"reasoning": {"effort": None}}, False),
        ({"output_config": {"effort": "max"}}, True),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"enable_thinking": True}, True),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}}, True),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, False),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}, True),
        ({"thinking": "yes", "reasoning": 3}, False),
    ],
)
def test_what_a_request_declares_is_read_in_every_wires_words(params: dict[str, Any], reasons: bool) -> None:
    assert asks_to_reason(Request(1, 1, Form.CHAT, "m", b"{}", params), a_route()) is reasons


def test_the_route_has_the_last_word() -> None:
    request = Request(1, 1, Form.CHAT, "m", b"{}", {"reasoning_effort": "high"})
    assert not asks_to_reason(request, a_route(unset=("reasoning_effort",)))
    assert not asks_to_reason(request, a_route(set={"reasoning_effort": "none"}))


def test_only_what_may_have_been_billed_is_held_back_and_only_where_it_was_long() -> None:
    timeout, lost, refused = (
        Failure(kind, "") for kind in (Kind.TIMEOUT_AFTER_SEND, Kind.CONNECTION_LOST, Kind.CONNECTION_REFUSED)
    )
    assert not repeats_safely(timeout, 10.0, reasons=True)
    assert repeats_safely(timeout, 600.0, reasons=False)
    assert repeats_safely(lost, 0.1, reasons=True)
    assert not repeats_safely(lost, 60.0, reasons=True)
    assert repeats_safely(refused, 60.0, reasons=True)
