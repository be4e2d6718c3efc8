"""What a request will likely use: learnt, bounded by its own cap, never by a guess that outlives the facts."""

from __future__ import annotations

from unittest.mock import AsyncMock

import fakeredis
import orjson
import pytest
from redis.asyncio.client import Pipeline

from bucketline.catalog import Catalog, Route
from bucketline.learnt import Learnt, read_learnt
from bucketline.request import Form, Request
from bucketline.settings import Settings
from bucketline.usage import Usage
from worker.limiter.learning import Learning
from worker.limiter.likely import Likely


@pytest.fixture
def route() -> Route:
    settings = Settings.model_validate(
        {
            "providers": {"alpha": {"wire": "openai", "base_url": "http://127.0.0.1:1/v1"}},
            "models": {"m": {"routes": [{"provider": "alpha", "model": "m"}]}},
        }
    )
    return Catalog(settings).plan("m").routes[0]


def request(form: Form = Form.CHAT, text: str = "x" * 400, **params: object) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **params}
    return Request(1, "r", form, "m", orjson.dumps(body), body)


def test_the_input_estimate_learns_how_many_bytes_a_token_has(route: Route) -> None:
    likely, one = Likely(), request()
    for _ in range(10):
        likely.learn(one, route, Usage(input_tokens=len(one.body) // 2, output_tokens=5))
    assert likely.demand(one, route).input_tokens == pytest.approx(len(one.body) / 2, rel=0.02)
    assert likely.model(route).error is not None
    for _ in range(100):
        likely.learn(one, route, Usage(input_tokens=len(one.body) // 2, output_tokens=5))
    error = likely.model(route).error
    assert error is not None
    assert error < 0.05, "the error is of all that is remembered"


def test_the_output_estimate_is_the_95th_percentile(route: Route) -> None:
    likely, one = Likely(), request()
    for n in range(1, 1001):
        likely.learn(one, route, Usage(input_tokens=100, output_tokens=n))
    assert likely.demand(one, route).output_tokens == pytest.approx(950, rel=0.12)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_largest_declared_cap_bounds_the_output(route: Route, name: str) -> None:
    """A small max_tokens beside a large max_completion_tokens must not reserve the small one."""
    likely = Likely()
    for _ in range(50):
        likely.learn(request(), route, Usage(input_tokens=100, output_tokens=5000))
    assert likely.demand(request(**{"max_tokens": 1, name: 100}), route).output_tokens == 100


def test_before_anything_is_known_a_huge_cap_reserves_no_huge_share(route: Route) -> None:
    assert Likely().demand(request(max_tokens=100_000), route).output_tokens == 2048


def test_embeddings_reserve_no_output(route: Route) -> None:
    assert Likely().demand(request(Form.EMBEDDINGS), route).output_tokens == 0


def test_several_choices_are_reserved_each(route: Route) -> None:
    assert Likely().demand(request(max_tokens=10, n=3), route).output_tokens == 30


def test_old_answers_fade(route: Route) -> None:
    likely, one = Likely(), request()
    for tokens, count in ((10, 3000), (1000, 3000)):
        for _ in range(count):
            likely.learn(one, route, Usage(input_tokens=100, output_tokens=tokens))
    assert likely.model(route).quantile(0.4) == pytest.approx(1000, rel=0.12)


async def test_a_new_worker_starts_with_what_the_others_have_learnt(route: Route) -> None:
    redis = fakeredis.FakeAsyncRedis()
    old, new = Likely(), Likely()
    for _ in range(20):
        old.learn(request(), route, Usage(input_tokens=230, output_tokens=300))
    shares = Learning(redis, old), Learning(redis, new)
    await shares[0].share()
    new.demand(request(), route)
    await shares[1].share()
    assert new.demand(request(), route) == old.demand(request(), route)
    await redis.aclose()


async def test_sharing_counts_each_answer_once_however_often_it_is_done(route: Route) -> None:
    redis = fakeredis.FakeAsyncRedis()
    both = Likely(), Likely()
    shares = [Learning(redis, likely) for likely in both]
    for turn in range(6):
        for likely, share in zip(both, shares, strict=True):
            likely.learn(request(), route, Usage(input_tokens=100, output_tokens=10 + turn))
            await share.share()
    for likely, share in zip(both, shares, strict=True):
        likely.demand(request(), route)
        await share.share()
    assert [likely.model(route).answers for likely in both] == [12, 12]
    await redis.aclose()


def test_models_add_up() -> None:
    whole, part = Learnt(), Learnt()
    for n in (1, 10, 100):
        whole.learn(400, Usage(input_tokens=100, output_tokens=n))
    part.add(whole.fresh)
    assert (part.input_tokens, part.outputs) == (whole.input_tokens, whole.outputs)


async def test_models_that_nobody_uses_cost_redis_nothing(route: Route) -> None:
    """A fleet at night must not ask every few seconds for what nobody needs."""
    redis = fakeredis.FakeAsyncRedis()
    likely = Likely()
    share = Learning(redis, likely)
    likely.learn(request(), route, Usage(input_tokens=100, output_tokens=10))
    await share.share()
    await redis.flushall()
    await share.share()
    assert await redis.dbsize() == 0
    await redis.aclose()


async def test_what_redis_did_not_take_is_told_later(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = fakeredis.FakeAsyncRedis()
    likely = Likely()
    share = Learning(redis, likely)
    likely.learn(request(), route, Usage(input_tokens=100, output_tokens=10))
    with monkeypatch.context() as broken:
        broken.setattr(Pipeline, "execute", AsyncMock(side_effect=ConnectionError))
        with pytest.raises(ConnectionError):
            await share.share()
    await share.share()
    assert (await read_learnt(redis))["alpha/m"].answers == 1
    await redis.aclose()
