"""One line's way through plans that fail, with scripted providers on real sockets and a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bucketline.batch import BatchDocument, BatchOptions
from bucketline.circuit import resume
from bucketline.outcome import Outcome
from bucketline.request import Form, Request
from bucketline.settings import Settings
from tests.integration.line.scripted import Provider, answer, error, hang, providers
from worker.control import OpenBatch
from worker.engine import Engine
from worker.life import Life
from worker.service import open_engine

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
AS_JSON = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
EMPTY = error(429, "insufficient_quota")


class Line:
    """A line of workers reduced to one engine: lines go in, outcomes come out."""

    def __init__(self, engine: Engine, found: dict[str, Provider]) -> None:
        self.engine, self.providers = engine, found

    def __getitem__(self, name: str) -> Provider:
        return self.providers[name]

    def batch(self, **options: Any) -> OpenBatch:
        document = BatchDocument(
            id="batch_x", source="x", created_s=time.time(), options=BatchOptions(**options), lines=1, rejected=0,
            last_line=1, input_bytes=0, input_sha256="", shards=[],
        )  # fmt: skip
        batch = OpenBatch(document)
        batch.running.set()
        return batch

    async def run(self, batch: OpenBatch | None = None, within_s: float = 15, **params: Any) -> Outcome:
        body = {"model": "m", "messages": [{"role": "user", "content": "q"}], **params}
        request = Request(1, "a", Form.CHAT, "m", json.dumps(body).encode(), body)
        async with asyncio.timeout(within_s):
            return await self.engine.runner.dispatcher.run(Life(request), batch or self.batch())


Lay = Callable[..., contextlib.AbstractAsyncContextManager[Line]]


@pytest.fixture
def lay(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Start providers and an engine: ``lay(plan, provider=[replies], …)``."""

    @contextlib.asynccontextmanager
    async def line(plan: dict[str, Any] | None = None, **replies: list[Any]) -> AsyncIterator[Line]:
        async with providers(*replies) as found:
            for name, provider in found.items():
                provider.replies = replies[name]
                monkeypatch.setenv(f"{name.upper()}_KEY", f"key-of-{name}")
            given = {"routes": {}, "retry": {}, "provider": {}, **(plan or {})}
            routes = [{"provider": name, "model": f"{name}-m", **given["routes"].get(name, {})} for name in found]
            extra = {name: given[name] for name in given if name not in ("routes", "retry", "provider")}
            retry = {"base_delay_s": 0.02, "max_delay_s": 0.1, "request_timeout_s": 5, "max_attempts": 2}
            settings = Settings.model_validate({
                "redis_url": redis_url, "store": str(tmp_path / "store"),
                "providers": {
                    name: {"base_url": p.url, "api_key_env": f"{name.upper()}_KEY", **given["provider"].get(name, {})}
                    for name, p in found.items()
                },
                "models": {"m": {"routes": routes, **extra}},
                "prices": {f"{name}/{name}-m": {"input": "1.00", "output": "2.00"} for name in found},
                "retry": retry | given["retry"],
            })  # fmt: skip
            async with open_engine(settings) as engine:
                yield Line(engine, found)

    return line


def story(outcome: Outcome) -> list[str]:
    return [f"{attempt.provider}:{attempt.kind}" for attempt in outcome.attempts]


async def test_the_next_route_gets_its_own_key_model_and_parameters(lay: Lay) -> None:
    plan = {"routes": {"b": {"set": {"temperature": 1}, "unset": ["logit_bias"]}}}
    async with lay(plan, a=[error(500, "server_error")], b=[answer()]) as line:
        outcome = await line.run(temperature=0, logit_bias={"1": 2}, seed=0)
        assert story(outcome) == ["a:server_error", "a:server_error", "b:ok"]
        assert (line["a"].calls[0]["temperature"], line["b"].calls[0]["temperature"]) == (0, 1)
        assert "logit_bias" not in line["b"].calls[0]
        assert line["b"].calls[0]["seed"] == 0
        assert set(line["a"].keys + line["b"].keys) == {"Bearer key-of-a", "Bearer key-of-b"}


async def test_one_budget_of_attempts_holds_over_all_routes(lay: Lay) -> None:
    broken = [error(500, "server_error")]
    async with lay({"retry": {"max_attempts_total": 3}}, a=broken, b=broken, c=broken) as line:
        outcome = await line.run()
        assert story(outcome) == ["a:server_error", "a:server_error", "b:server_error"]
        assert outcome.code == "provider_5xx"


async def test_a_prompt_that_does_not_fit_goes_where_there_is_more_room(lay: Lay) -> None:
    too_long = [error(400, "context_length_exceeded")]
    plan = {"routes": {"a": {"context_tokens": 8000}, "b": {"context_tokens": 4000}, "c": {"context_tokens": 16000}}}
    async with lay(plan, a=too_long, b=too_long, c=[answer()]) as line:
        assert story(await line.run()) == ["a:context_too_long", "c:ok"]


async def test_a_hanging_route_leaves_the_next_one_its_share_of_the_window(lay: Lay) -> None:
    async with lay({"retry": {"request_timeout_s": 600, "max_attempts": 1}}, a=[hang()], b=[answer()]) as line:
        outcome = await line.run(line.batch(window_s=10.0))
        assert story(outcome) == ["a:timeout_after_send", "b:ok"]
        assert outcome.attempts[0].latency_s == pytest.approx(5, abs=1)
        assert line.engine.health.usable(line.engine.catalog.plan("m").routes[0]), "its haste is not the route's fault"


async def test_a_reasoning_call_that_ran_into_its_time_is_not_sent_there_again(lay: Lay) -> None:
    """It has most likely been worked on and billed; the same would happen again."""
    plan = {"retry": {"request_timeout_s": 0.3, "max_attempts": 3}}
    async with lay(plan, a=[hang()]) as line:
        outcome = await line.run(reasoning_effort="high")
        assert (story(outcome), outcome.code) == (["a:timeout_after_send"], "timeout")
        assert outcome.attempts[0].cost.maybe_nanousd
        assert story(await line.run()) == ["a:timeout_after_send"] * 3


async def test_a_route_found_to_reason_is_treated_so_without_being_told(lay: Lay) -> None:
    plan = {"retry": {"request_timeout_s": 0.5, "max_attempts": 3}}
    async with lay(plan, a=[answer(reasoning=500), hang()], b=[answer()]) as line:
        assert story(await line.run()) == ["a:ok"]
        assert story(await line.run()) == ["a:timeout_after_send", "b:ok"]


async def test_an_answer_that_breaks_its_schema_is_asked_for_again_and_paid_for(lay: Lay) -> None:
    async with lay(a=[answer('{"n": "x"}'), answer('{"n": 1}')]) as line:
        outcome = await line.run(response_format=AS_JSON)
        assert story(outcome) == ["a:invalid_answer", "a:ok"]
        assert [attempt.cost.nanousd for attempt in outcome.attempts] == [120_000, 120_000]
        assert line["a"].calls[0] == line["a"].calls[1], "nothing is told to the model unless asked for"


async def test_with_repair_the_model_is_told_its_last_fault_only(lay: Lay) -> None:
    replies = [answer('{"n": "x"}'), answer("no"), answer('{"n": 1}')]
    async with lay({"retry": {"max_attempts": 3}}, a=replies) as line:
        outcome = await line.run(line.batch(repair=True), response_format=AS_JSON)
        assert outcome.ok
        assert outcome.extra == {"repaired": True}
        second, third = line["a"].calls[1]["messages"], line["a"].calls[2]["messages"]
        assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
        assert second[1]["content"] == '{"n": "x"}'
        assert third[1]["content"] == "no"
        assert len(third) == 3


async def test_an_answer_that_never_satisfies_its_schema_is_a_failure_with_its_tokens(lay: Lay) -> None:
    async with lay(a=[answer("no")]) as line:
        outcome = await line.run(response_format=AS_JSON)
        assert (outcome.code, story(outcome)) == ("bad_response", ["a:invalid_answer"] * 2)
        assert outcome.usage is not None
        assert b'"no"' in (outcome.body or b"")
        assert "no" not in (outcome.message or "").split('"')


async def test_a_truncated_answer_is_marked_or_raised_once(lay: Lay) -> None:
    async with lay(a=[answer("half", finish="length"), answer("whole")]) as line:
        marked = await line.run(max_tokens=10)
        assert (marked.ok, marked.finish_reason, len(marked.attempts)) == (True, "length", 1)
    async with lay(a=[answer("half", finish="length"), answer("whole")]) as line:
        raised = await line.run(line.batch(on_truncated="raise"), max_tokens=10)
        assert story(raised) == ["a:ok", "a:ok"]
        assert [call["max_tokens"] for call in line["a"].calls] == [10, 20]
        assert (raised.finish_reason, raised.extra) == ("stop", {"raised": True})
        assert sum(attempt.cost.nanousd or 0 for attempt in raised.attempts) == 240_000


async def test_a_truncated_answer_that_cannot_be_bettered_is_not_lost(lay: Lay) -> None:
    """It was paid for; and without a cap to raise nothing is sent again unchanged."""
    refused = error(400, "invalid_request_error", "max_tokens is too large")
    async with lay(a=[answer("half", finish="length"), refused], b=[answer("other")]) as line:
        kept = await line.run(line.batch(on_truncated="raise"), max_tokens=10)
        assert (kept.ok, kept.finish_reason) == (True, "length")
        assert story(kept) == ["a:ok", "a:bad_request"]
    async with lay(a=[answer("half", finish="length")]) as line:
        assert len((await line.run(line.batch(on_truncated="raise"))).attempts) == 1


async def test_reasoning_that_ate_the_whole_cap_is_truncated_and_can_be_raised(lay: Lay) -> None:
    eaten = answer("", finish="length", reasoning=500)
    async with lay(a=[eaten, answer()]) as line:
        assert (await line.run(max_tokens=10)).code == "truncated"
    async with lay(a=[eaten, answer()]) as line:
        raised = await line.run(line.batch(on_truncated="raise"), max_tokens=10)
        assert story(raised) == ["a:truncated", "a:ok"]


async def test_an_empty_account_holds_lines_until_it_is_resumed_and_costs_none(lay: Lay) -> None:
    async with lay(a=[EMPTY]) as line:
        lines = [asyncio.ensure_future(line.run()) for _ in range(3)]
        async with asyncio.timeout(10):
            while line.engine.health.parked < 3:
                await asyncio.sleep(0.01)
            calls = len(line["a"].calls)
            line["a"].replies = [answer()]
            while not await resume(line.engine.redis, "a"):
                await asyncio.sleep(0.01)
        assert all(outcome.ok for outcome in await asyncio.gather(*lines))
        assert len(line["a"].calls) == calls + 3


async def test_an_empty_account_sends_lines_to_the_next_route_and_may_be_come_back_to(lay: Lay) -> None:
    plan = {"provider": {"a": {"recheck_s": 0.2}}, "retry": {"max_attempts": 1}}
    async with lay(plan, a=[EMPTY, answer()], b=[error(500, "server_error")]) as line:
        assert story(await line.run()) == ["a:account_exhausted", "b:server_error", "a:ok"]


async def test_where_waiting_is_not_wanted_an_empty_account_fails_lines_without_a_call(lay: Lay) -> None:
    async with lay(a=[EMPTY]) as line:
        first = await line.run(line.batch(on_quota="fail"))
        second = await line.run(line.batch(on_quota="fail"))
        assert (first.code, second.code) == ("quota", "quota")
        assert (len(first.attempts), len(second.attempts)) == (1, 0)


async def test_a_route_that_has_no_room_overflows_into_the_next(lay: Lay) -> None:
    plan = {"spill": True, "spill_after_s": 0.05, "provider": {"a": {"concurrency": 1}}}
    async with lay(plan, a=[answer(delay_s=1.0)], b=[answer()]) as line:
        outcomes = await asyncio.gather(*(line.run() for _ in range(6)))
        served = {story(outcome)[0] for outcome in outcomes}
        assert served == {"a:ok", "b:ok"}
        assert len(line["a"].calls) == 1


async def test_a_told_wait_beyond_the_patience_overflows_too(lay: Lay) -> None:
    slow_down = error(429, "rate_limit_exceeded", **{"Retry-After": "30"})
    async with lay({"spill": True, "spill_after_s": 0.2}, a=[slow_down], b=[answer()]) as line:
        assert story(await line.run(within_s=10)) == ["a:rate_limit", "b:ok"]


async def test_near_the_deadline_a_line_may_always_go_elsewhere(lay: Lay) -> None:
    plan = {"spill_after_s": 30.0, "provider": {"a": {"concurrency": 1}}}
    async with lay(plan, a=[answer(delay_s=3.0)], b=[answer()]) as line:
        batch = line.batch(window_s=20.0)
        outcomes = await asyncio.gather(line.run(batch), line.run(batch))
        assert sorted(story(outcome)[0] for outcome in outcomes) == ["a:ok", "b:ok"]


async def test_lines_for_a_missing_model_each_learn_it_from_the_provider(lay: Lay) -> None:
    """However many there are; and where there is another route, few of them ask."""
    gone = error(404, "model_not_found")
    async with lay(a=[gone]) as line:
        outcomes = [await line.run() for _ in range(12)]
        assert {(outcome.code, outcome.status) for outcome in outcomes} == {("provider_4xx", 404)}
    async with lay(b=[gone], c=[answer()]) as line:
        outcomes = [await line.run() for _ in range(30)]
        assert all(outcome.ok for outcome in outcomes)
        assert len(line["b"].calls) == 5


async def test_a_least_quality_excludes_the_routes_below_it(lay: Lay) -> None:
    plan = {"policy": "best", "routes": {"a": {"quality": 5}, "b": {"quality": 8}}}
    async with lay(plan, a=[answer()], b=[answer()]) as line:
        assert story(await line.run(line.batch(min_quality=7))) == ["b:ok"]
        refused = await line.run(line.batch(min_quality=9))
        assert (refused.code, refused.attempts) == ("invalid_input", ())


async def test_a_route_whose_key_this_machine_lacks_is_no_way_out(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lay(a=[error(500, "server_error")], b=[answer()]) as line:
        monkeypatch.delenv("B_KEY")
        assert (await line.run()).code == "provider_5xx"


async def test_lines_that_fail_through_a_very_long_outage_come_to_an_end(lay: Lay) -> None:
    """A few bad lines must not keep a batch open for ever, however often they are what a probe finds."""
    async with lay({"retry": {"outage_s": 0.5, "max_attempts": 3}}, a=[error(500, "server_error")]) as line:
        outcomes = await asyncio.gather(*(line.run(within_s=20) for _ in range(4)))
        assert {outcome.code for outcome in outcomes} == {"provider_5xx"}
        assert all(len(outcome.attempts) >= 3 for outcome in outcomes)


async def test_a_permit_that_waited_long_for_a_place_goes_back_for_a_new_one(lay: Lay) -> None:
    """Its charge lies in a minute that passes; sent late, it would be a call too many in the next one."""
    async with lay({"provider": {"a": {"rpm": 600}}}, a=[answer()]) as line:
        engine, now_s = line.engine, 0.0
        dispatcher = replace(engine.runner.dispatcher, monotonic=lambda: now_s)
        request = Request(1, "a", Form.CHAT, "m", b'{"model":"m","messages":[]}', {"model": "m", "messages": []})

        async def until_it_waits_for_a_place() -> None:
            async with asyncio.timeout(15):
                while not any(reason == "place" for _, reason, _ in engine.sight.waiting):
                    await asyncio.sleep(0.01)

        engine.turnstile.hold(True)
        task = asyncio.create_task(dispatcher.run(Life(request), line.batch()))
        await until_it_waits_for_a_place()
        now_s = 1.0
        engine.turnstile.hold(False)
        engine.turnstile.hold(True)
        await asyncio.sleep(0)  # it has passed, and sees how late it is
        await until_it_waits_for_a_place()
        assert not line["a"].calls
        engine.turnstile.hold(False)
        async with asyncio.timeout(15):
            assert (await task).ok
        assert engine.turnstile.in_flight == 0


async def test_where_calls_are_short_more_lines_are_open_than_places_alone_would_need(
    lay: Lay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three lines for each place are used up before the queue is looked at again, and the places stand empty."""
    async with lay(a=[answer()]) as line:
        engine = line.engine
        usual = 3 * engine.settings.worker.concurrency
        assert engine.runner.room_lines == usual
        monkeypatch.setattr(engine.turnstile, "ends_a_s", lambda: 10.0 * usual)
        assert engine.runner.room_lines > 2 * usual


async def test_a_line_that_another_worker_brought_meanwhile_is_not_called_again(lay: Lay) -> None:
    """Asked at the last moment, with the permit in hand: both go back."""
    replies = [error(500, "server_error"), answer()]
    async with lay({"provider": {"a": {"concurrency": 1}}}, a=replies) as line:
        known = iter([False, True])

        async def overtaken() -> bool:
            return next(known)

        body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
        life = Life(Request(1, "a", Form.CHAT, "m", json.dumps(body).encode(), body), overtaken=overtaken)
        with pytest.raises(asyncio.CancelledError):
            await line.engine.runner.dispatcher.run(life, line.batch())
        assert len(line["a"].calls) == 1
        assert story(await line.run()) == ["a:ok"], "the permit and the place are free again"
