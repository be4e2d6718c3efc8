"""Whatever a batch can wait for, a line brings it about, and ``why`` names it, with its figures and its time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest
from redis.asyncio import Redis

from bucketline import keys
from bucketline.batch import BatchDocument, State
from bucketline.catalog import Limits as LimitsOfOurs
from bucketline.errors import UsageError
from bucketline.layout import batch_document
from bucketline.sign import BatchSign, Sign, write_sign
from producer.cause import CauseKind
from tests.integration.watching.line import LIMIT_S, kinds, running
from worker.limiter import Demand, Gate
from worker.simulator import Limits, Phase, PhaseKind, Weather

SLOW = {"weather": Weather(latency_s=20.0)}


async def test_an_operator_has_paused_it(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, works=False) as line:
        batch = await line.submit(3)
        await line.producer.pause(batch)
        found = await line.causes(batch.id)
        assert kinds(found)[:2] == ["paused", "no_workers"]
        assert f"bucketline resume {batch.id}" in found[0].sentence


async def test_no_worker_runs(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, works=False) as line:
        first = await line.submit(3)
        batch = await line.submit(3)
        found = await line.causes(batch.id)
        assert kinds(found) == ["no_workers", "queue"]
        assert "bucketline work" in found[0].sentence
        assert "3 lines wait on the queue in 1 shard" in found[1].sentence
        assert (await line.causes(first.id))[1].lines == 3


async def test_a_limit_on_requests_a_minute(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, provider={"rpm": 6}) as line:
        batch = await line.submit(20)
        cause = await line.cause(batch.id, "limit", lambda one: "100 %" in one.sentence or "17 %" in one.sentence)
        assert "Requests per minute of account alpha: " in cause.sentence
        assert " of 6 used, " in cause.sentence
        assert "next 1 request in " in cause.sentence
        assert cause.lines is not None
        assert cause.lines >= 14
        assert cause.until_s is not None
        assert (await line.causes(batch.id))[0].kind == "limit"


async def test_a_limit_on_tokens_a_minute(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, provider={"tpm": 600}) as line:
        batch = await line.submit(40)
        cause = await line.cause(batch.id, "limit")
        assert cause.sentence.startswith("Tokens per minute of account alpha: ")
        assert " tokens in " in cause.sentence


async def test_the_daily_limit_is_used_up(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, provider={"rpd": 5}) as line:
        batch = await line.submit(9)
        cause = await line.cause(batch.id, "daily_limit", lambda one: one.lines == 4)
        assert "Requests per day of account alpha: 100 % of 5 used; 4 lines parked until 00:00 UTC" in cause.sentence
        assert cause.sentence.endswith("by the daily limit.")


async def test_calls_in_flight_are_limited(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, provider={"concurrency": 2}, simulated=SLOW) as line:
        batch = await line.submit(9)
        cause = await line.cause(batch.id, "concurrency", lambda one: "2 of 2" in one.sentence)
        assert cause.sentence == "Calls in flight of account alpha: 2 of 2; 7 lines wait."
        flight = await line.cause(batch.id, "in_flight")
        assert flight.sentence.startswith("2 calls are on the way")


async def test_others_came_first(redis_url: str, redis_client: Redis, tmp_path: Path) -> None:
    """There is room for small requests, but another worker's large one comes first and needs more than there is."""
    async with running(redis_url, tmp_path, provider={"tpm": 6000}) as line:
        await line.producer.wait(await line.submit(1), timeout_s=LIMIT_S)
        other = Gate(redis_client, "another-worker")
        await other.start()
        first_of_all = other.admit([("alpha", LimitsOfOurs(tpm=6000))], Demand(6000), priority=500)
        large = asyncio.create_task(first_of_all)
        async with asyncio.timeout(LIMIT_S):
            while not await redis_client.zcard(keys.gate_line("alpha")):
                await asyncio.sleep(0.01)
        late = await line.submit(4)
        cause = await line.cause(late.id, "order", lambda one: one.lines == 4)
        assert cause.sentence == "Others come first at account alpha; 4 lines wait."
        large.cancel()
        await other.close()


async def test_the_provider_has_said_when_to_come_back(redis_url: str, tmp_path: Path) -> None:
    weather = Weather(retry_after_min_s=40.0, retry_after_max_s=50.0)
    limiting = Phase(PhaseKind.LIMITING, after_calls=2)
    async with running(redis_url, tmp_path, simulated={"phases": (limiting,), "weather": weather}) as line:
        batch = await line.submit(9)
        cause = await line.cause(batch.id, "paused_by_provider")
        assert cause.sentence.startswith("Account alpha is paused by its provider's rate limit until ")
        assert cause.until_s is not None


async def test_the_account_has_no_credit(redis_url: str, tmp_path: Path) -> None:
    exhausted = Phase(PhaseKind.EXHAUSTED, after_calls=2)
    async with running(redis_url, tmp_path, simulated={"phases": (exhausted,)}) as line:
        batch = await line.submit(9)
        cause = await line.cause(batch.id, "circuit", lambda one: "closed" in one.sentence)
        assert cause.sentence.startswith("Account alpha is closed: the provider's account has no credit left")
        assert "bucketline resume-route alpha" in cause.sentence


async def test_the_key_is_refused(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, key="sk-wrong") as line:
        batch = await line.submit(3)
        cause = await line.cause(batch.id, "circuit", lambda one: one.lines == 3 and "closed" in one.sentence)
        assert "the provider refused the key" in cause.sentence
        assert "sk-wrong" not in cause.sentence


async def test_a_route_that_keeps_failing_is_closed(redis_url: str, tmp_path: Path) -> None:
    dead = Phase(PhaseKind.DEAD, after_calls=0)
    retry = {"base_delay_s": 20.0, "max_delay_s": 20.0, "max_attempts": 100}
    async with running(redis_url, tmp_path, simulated={"phases": (dead,)}, retry=retry) as line:
        batch = await line.submit(20)
        await line.cause(batch.id, "backoff")
        late = await line.submit(4)
        cause = await line.cause(late.id, "circuit")
        assert cause.sentence.startswith("Route alpha/small is closed: its calls keep failing; next try at ")
        assert cause.sentence.endswith("4 lines wait.")


async def test_lines_wait_for_another_attempt(redis_url: str, tmp_path: Path) -> None:
    dead = Phase(PhaseKind.DEAD, after_calls=0)
    async with running(
        redis_url, tmp_path, simulated={"phases": (dead,)}, retry={"base_delay_s": 20.0, "max_delay_s": 20.0}
    ) as line:
        batch = await line.submit(3)
        cause = await line.cause(batch.id, "backoff", lambda one: one.lines == 3)
        assert cause.sentence == (
            "3 lines parked for another attempt on alpha/small after failures (connection lost 3× in the last minute)."
        )


async def test_the_worker_has_no_more_places(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, worker={"concurrency": 1}, simulated=SLOW) as line:
        batch = await line.submit(5)
        cause = await line.cause(batch.id, "places")
        assert cause.sentence.startswith(
            "Every place of 1 worker (1 in all) is taken by a call in flight; 4 lines wait for one"
        )


async def test_the_answers_have_nowhere_to_go(redis_url: str, tmp_path: Path) -> None:
    """A store that takes nothing holds lines back before memory is full."""
    async with running(redis_url, tmp_path) as line:
        assert line.engine is not None
        line.engine.recorder.hold(1 << 40)
        batch = await line.submit(5)
        cause = await line.cause(batch.id, "store")
        assert cause.sentence.endswith("5 lines held back meanwhile.")
        line.engine.recorder.let_go(1 << 40)


async def test_its_money_is_reserved_by_calls_in_flight(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, simulated=SLOW) as line:
        assert line.engine is not None
        batch = await line.submit(50, max_usd="0.01")
        await line.engine.gate.set_budget(batch.id, 10_000_000)
        cause = await line.cause(batch.id, "budget")
        assert " of its budget of $0.01 are spent or reserved; " in cause.sentence


async def test_a_full_worker_leaves_lines_on_the_queue(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, worker={"concurrency": 1, "open_requests": 1}, simulated=SLOW) as line:
        batch = await line.submit(3000)
        cause = await line.cause(batch.id, "queue", lambda one: one.lines != 3000)
        assert "lines wait on the queue, until there is room (1 worker with " in cause.sentence


async def test_calls_are_on_their_way(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, simulated=SLOW) as line:
        batch = await line.submit(4)
        cause = await line.cause(batch.id, "in_flight", lambda one: one.lines == 4)
        assert kinds(await line.causes(batch.id)) == ["in_flight"]
        assert cause.sentence == "4 calls are on the way to the providers."


async def test_it_is_being_cancelled(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, simulated=SLOW) as line:
        batch = await line.submit(4)
        await line.cause(batch.id, "in_flight", lambda one: one.lines == 4)
        await line.producer.cancel(batch, keep_in_flight=True)
        cause = await line.cause(batch.id, "cancelling")
        assert cause.sentence == "It is being cancelled; 4 calls may still land."


async def test_a_pause_hides_no_cancellation(redis_url: str, tmp_path: Path) -> None:
    """Else `status` would say for good that the batch is paused, and a resume would be waited for."""
    async with running(redis_url, tmp_path, works=False) as line:
        batch = await line.submit(4)
        await line.producer.pause(batch)
        await line.producer.cancel(batch)
        assert kinds(await line.causes(batch.id))[0] == "cancelling"
        assert not (await line.producer.status(batch)).paused
        with pytest.raises(UsageError, match="is cancelling; there is nothing left to pause"):
            await line.producer.pause(batch)


async def test_its_results_are_being_merged(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, works=False) as line:
        batch = await line.submit(4)
        await (await line.producer.ledger()).move(batch.id, State.FINALIZING)
        assert kinds(await line.causes(batch.id))[0] == "finalizing"


async def test_its_work_is_not_queued_yet(redis_url: str, redis_client: Redis, tmp_path: Path) -> None:
    """Its producer died between the document and the tickets."""
    async with running(redis_url, tmp_path, works=False) as line:
        batch = await line.submit(4)
        document = BatchDocument.model_validate_json(await line.producer.store.get(batch_document(batch.id)))
        await redis_client.flushall()
        assert kinds(await line.causes(document.id)) == ["no_workers", "validating"]


async def test_a_worker_has_fallen_silent(redis_url: str, redis_client: Redis, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, works=False) as line:
        batch = await line.submit(4)
        seconds, _ = await redis_client.time()
        mine = (BatchSign(batch.id, 4, 0, 0.0),)
        sign = Sign("host-1-abcd", seconds - 25.0, open_lines=4, open_shards=1, batches=mine)
        await redis_client.hset(keys.worker_hash("host-1-abcd"), mapping=write_sign(sign))  # type: ignore[misc]
        await redis_client.zadd(keys.WORKERS, {"host-1-abcd": sign.seen_s})
        found = {cause.kind: cause for cause in await line.causes(batch.id)}
        assert "Worker host-1-abcd has given no sign of life for 2" in found["silent_worker"].sentence
        assert "no_workers" in found


@pytest.mark.parametrize("state", [State.COMPLETED, State.EXPIRED])
async def test_it_is_over(redis_url: str, tmp_path: Path, state: State) -> None:
    async with running(redis_url, tmp_path, works=False) as line:
        batch = await line.submit(4)
        ledger = await line.producer.ledger()
        await ledger.move(batch.id, State.FINALIZING)
        await ledger.finish(batch.id, state, 1.0, "so it ended")
        (cause,) = await line.causes(batch.id)
        assert cause.sentence == f"It is over: {state} (so it ended)."


async def test_a_line_in_good_health_has_no_complaint(redis_url: str, tmp_path: Path) -> None:
    """What the simulator lets through is not called a limit."""
    async with running(redis_url, tmp_path, simulated={"limits": Limits(rpm=6000)}) as line:
        batch = await line.submit(200)
        await line.producer.wait(batch, timeout_s=30)
        assert kinds(await line.causes(batch.id)) == ["over"]


async def test_lines_wait_for_their_equals_answer(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, simulated=SLOW) as line:
        batch = await line.submit(5, dedupe=True)
        cause = await line.cause(batch.id, "equal", lambda one: one.lines == 4)
        assert cause.sentence == "4 lines wait for the answer to an equal line."


async def test_its_last_lines_are_being_recorded(redis_url: str, redis_client: Redis, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, works=False) as line:
        batch = await line.submit(4)
        seconds, _ = await redis_client.time()
        sign = Sign("w", float(seconds), open_lines=4, open_shards=1, batches=(BatchSign(batch.id, 4, 0, 0.0),))
        await redis_client.hset(keys.worker_hash("w"), mapping=write_sign(sign))  # type: ignore[misc]
        await redis_client.zadd(keys.WORKERS, {"w": sign.seen_s})
        (cause,) = await line.causes(batch.id)
        assert (cause.kind, cause.sentence) == ("running", "Nothing holds it up: its last lines are being recorded.")


def test_no_reason_is_without_its_test_and_its_row() -> None:
    """A reason that nothing brings about may be wrong for years; one without a row is for nobody but us."""
    tests = Path(__file__).read_text(encoding="utf-8")
    page = (Path(__file__).parents[3] / "docs" / "watching.md").read_text(encoding="utf-8")
    for kind in get_args(CauseKind):
        assert f'"{kind}"' in tests
        assert f"`{kind}`" in page
