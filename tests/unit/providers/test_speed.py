"""The hot path: writing a call and reading a plain answer cost little beside parsing the answer's JSON once."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson

from tests.samples import chat_line, reply, route
from worker.providers import Answer, adapter_for


def cost(work: Callable[[], object], rounds: int = 3000) -> float:
    """CPU seconds of the best of five runs: other processes cannot make it cheaper."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(rounds):
            work()
        best = min(best, time.process_time() - began)
    return best


def test_a_plain_call_and_its_answer_cost_a_few_parses_of_the_answer() -> None:
    usage = {
        "prompt_tokens": 1500, "completion_tokens": 340, "total_tokens": 1840,
        "prompt_tokens_details": {"cached_tokens": 1024}, "completion_tokens_details": {"reasoning_tokens": 300},
    }  # fmt: skip
    choice = {"index": 0, "message": {"role": "assistant", "content": "word " * 150}, "finish_reason": "stop"}
    answer = reply(200, {"id": "c", "model": "m", "choices": [choice], "usage": usage}, x_request_id="req_1")
    adapter, request, way = adapter_for("openai"), chat_line(temperature=0), route()
    assert isinstance(adapter.read(answer, request, way), Answer)
    parse = cost(lambda: orjson.loads(answer.body))
    assert cost(lambda: adapter.read(answer, request, way, key="k")) < 12 * parse
    assert cost(lambda: adapter.call(request, way, "k", request_id="line-1")) < 10 * parse
