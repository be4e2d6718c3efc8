"""Equal requests are known by what they ask, not by how it is spelled; a copy is free and says whose it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bucketline.failure import Billed, Code
from bucketline.outcome import Attempt, Cost, Outcome, encode_outcome
from bucketline.request import Form, Request
from bucketline.tally import Tally
from bucketline.usage import Usage
from worker.same import content_key, copy_of, told_of, told_of_line


def a_request(body: str, *, line: int = 1, form: Form = Form.CHAT, model: str = "m") -> Request:
    return Request(line, f"id-{line}", form, model, body.encode(), json.loads(body))


BODY = '{"model": "m", "messages": [{"role": "user", "content": "q"}], "n": 1}'


def test_spaces_and_order_do_not_matter() -> None:
    other = '{"n":1,"messages":[{"content":"q","role":"user"}],"model":"m"}'
    assert content_key(a_request(BODY)) == content_key(a_request(other, line=7))


@pytest.mark.parametrize(
    "other",
    [
        a_request(BODY.replace("1}", "2}")),
        a_request(BODY.replace("1}", "1.0}")),
        a_request(BODY.replace('"q"', '"Q"')),
        a_request(BODY, model="other"),
        a_request(BODY, form=Form.RESPONSES),
    ],
)
def test_what_changes_the_answer_is_another_request(other: Request) -> None:
    assert content_key(a_request(BODY)) != content_key(other)


def test_bodies_that_only_the_standard_library_reads_have_a_key_too() -> None:
    odd = r'{"messages": [], "x": "\ud800", "y": 123456789012345678901234567890}'
    assert content_key(a_request(odd)) != content_key(a_request(odd.replace("d800", "d801")))


def an_outcome(**changes: Any) -> Outcome:
    usage = Usage(input_tokens=10, output_tokens=5)
    attempt = Attempt("alpha", "m-1", "ok", 200, 1.0, 0.5, usage, Cost(700), Billed.YES)
    given: dict[str, Any] = {
        "line": 3, "custom_id": "id-3", "requested_model": "m", "code": None, "message": None, "attempts": (attempt,),
        "status": 200, "request_id": "req-1", "body": b'{"a": "\\u00e9", "n": 1.50}', "finish_reason": "stop",
        "served_model": "m-1-0613", "usage": usage, "raw": b'{"own":1}',
    }  # fmt: skip
    return Outcome(**given | changes)


@pytest.mark.parametrize(
    "outcome",
    [
        an_outcome(),
        an_outcome(code=Code.CONTENT_FILTER, message="No.", status=400),
        an_outcome(code=Code.TIMEOUT, message="No.", status=None, body=None, raw=None, request_id=None),
    ],
)
def test_a_copy_is_the_same_from_memory_and_from_what_was_recorded(outcome: Outcome) -> None:
    """Whether its equal was in this process or in one that is long dead."""
    request = a_request(BODY, line=9)
    near = json.loads(encode_outcome("batch_b", copy_of(told_of(outcome), request)))
    far = json.loads(encode_outcome("batch_b", copy_of(told_of_line(encode_outcome("batch_b", outcome)), request)))
    assert near == far
    assert (near["custom_id"], near["bucketline"]["line"]) == ("id-9", 9)
    assert near["bucketline"]["copied_from"] == 3
    assert (near["bucketline"]["attempts"], near["bucketline"]["cost_usd"]) == (0, "0")
    assert near["bucketline"]["provider"] == "alpha"
    assert near["response"] == json.loads(encode_outcome("batch_b", outcome))["response"]


def test_a_copy_keeps_the_bytes_of_the_answer() -> None:
    copied = copy_of(told_of_line(encode_outcome("batch_b", an_outcome())), a_request(BODY))
    assert copied.body == an_outcome().body


def test_the_bill_has_one_call_for_any_number_of_copies() -> None:
    outcome = an_outcome()
    copies = [copy_of(told_of(outcome), a_request(BODY, line=n)) for n in range(4, 9)]
    tally, read_again = Tally(), Tally()
    for one in (outcome, *copies):
        tally.add(one)
        read_again.add_line(json.loads(encode_outcome("batch_b", one)))
    assert (tally.completed, tally.attempts, tally.nanousd) == (6, 1, 700)
    assert tally.usage == Usage(input_tokens=10, output_tokens=5)
    assert read_again.document() | {"prices": {}, "origins": {}} == tally.document() | {"prices": {}, "origins": {}}
