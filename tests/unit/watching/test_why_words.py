"""The words of the reasons, on a made-up storm: the binding one first, each with figure and time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bucketline.gauge import STATE_FIELDS, Gauge, gauge_of
from bucketline.sign import BatchSign, Hold, Reason, Sign, Wait, read_sign, write_sign
from producer.monitor import Snapshot
from producer.timeleft import left_s
from producer.why import causes
from tests.unit.watching.scenes import EVAL, MAIL, NIGHT, busy, idle, storm


def sentences(snapshot: Snapshot, batch_id: str) -> list[str]:
    batch = snapshot.batch(batch_id)
    assert batch is not None
    return [cause.sentence for cause in causes(batch, snapshot)]


def test_a_limit_says_how_much_is_used_and_when_the_next_may_go() -> None:
    first = sentences(busy(), EVAL)[0]
    assert first == (
        "Tokens per minute of account moonshot: 93 % of 3,000,000 used, next 2,400 tokens in 1.8 s; 1,560 lines wait."
    )


def test_a_storm_is_told_reason_by_reason() -> None:
    account = "account llmapi is closed: the provider's account has no credit left; top it up, then resume the route"
    failed = "76 lines parked for another attempt on openai/gpt-large after failures"
    assert sentences(storm(), EVAL) == [
        "Account moonshot is paused by its provider's rate limit until 12:30:07 UTC (7s from now); 412 lines wait.",
        f"A{account[1:]}; until `bucketline resume-route llmapi`; 212 lines wait.",
        f"{failed} (server error 31×, timeout after send 4× in the last minute).",
        "3 calls are on the way to the providers; a call takes 0.9 to 4.1 s at the median.",
        "18,060 lines wait on the queue, until there is room (2 workers with 1,893 lines open).",
    ]
    assert sentences(storm(), MAIL)[0] == (
        "Requests per day of account google: 100 % of 10,000 used; 200 lines parked until 00:00 UTC on 2026-01-02 "
        "by the daily limit."
    )
    assert sentences(storm(), NIGHT)[0].startswith("It is paused by an operator;")


def test_others_that_came_first_are_a_reason_too() -> None:
    """Two lanes of one account: the one waits for the other's turn to pass."""
    moment = busy()
    worker = Sign(
        "w", moment.at_s, open_lines=5, batches=(BatchSign(EVAL, 5, 0, 0.0),),
        waits=(Wait(EVAL, Reason.PERMIT, "moonshot/kimi", 5),),
        holds=(Hold("moonshot/kimi", "moonshot", "order", 12, 100, 1.0),),
    )  # fmt: skip
    first = sentences(replace(moment, workers=(worker,)), EVAL)[0]
    assert first == "Others come first at account moonshot, where 7 more requests wait; 5 lines wait."


def test_time_left_is_bound_by_the_limit_and_not_by_a_burst() -> None:
    moment = busy()
    batch = moment.batch(EVAL)
    assert batch is not None
    left = batch.counts.total - batch.counts.done
    assert left_s(batch, moment, 5000.0) == pytest.approx(left * 640 / (3_000_000 / 60), rel=0.01)
    assert left_s(batch, moment, 1.0) == left
    assert left_s(replace(batch, paused=True), moment, 5000.0) is None


def test_a_sign_of_life_comes_back_as_it_was_and_stays_small() -> None:
    sign = storm().workers[0]
    raw = {
        name.encode(): value if isinstance(value, bytes) else str(value).encode()
        for name, value in write_sign(sign).items()
    }
    found = read_sign(sign.worker_id, raw)
    assert found is not None
    assert (found.batches, found.memory_bytes) == (sign.batches, sign.memory_bytes)
    assert (set(found.waits), set(found.troubles)) == (set(sign.waits), set(sign.troubles))
    many = replace(sign, waits=tuple(Wait(f"batch_{n:020d}", "permit", "alpha", n) for n in range(5000)))
    assert len(write_sign(many)["detail"]) < 10_000
    assert read_sign("other", {b"seen_s": b"now"}) is None, "another version's sign is no sign"
    assert idle().workers == ()


def test_what_is_used_fades_when_the_gate_looks_no_more() -> None:
    """The gate's last sum must not stand for ever: a minute later nothing of it counts."""
    figures = {"rpm": "600", "concurrency": "10"}
    state = {"at": "1000000000", "q.sum": "600", "q.level": "-5000000", "held": "4"}
    assert set(state) <= set(STATE_FIELDS)

    def seen(after_s: float) -> Gauge:
        return gauge_of("alpha", figures, state, 1000.0 + after_s)

    assert [limit.used for limit in seen(1).limits] == [600, 4]
    assert 200 < seen(31).limits[0].used < 400
    assert [limit.used for limit in seen(61).limits] == [0, 0]
    assert seen(0).limits[0].ready_in_s(1) == pytest.approx(0.6)
