"""Answers are the same every time, as long as they claim, and never longer than allowed."""

from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulator.author import draft
from worker.simulator.config import ModelConfig
from worker.simulator.dice import Dice, identity_of, key_of
from worker.simulator.talk import Ask, Draft, Finish, Spent, Tool

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def _draft(ask: Ask, model: ModelConfig | None = None, seed: int = 1, tag: str = "") -> Draft:
    identity = identity_of(key_of(seed), "/", ask.prompt.encode("utf-8", "replace"))
    return draft(ask, model or ModelConfig(), Dice(key_of(seed), identity, 0, 0), identity.hex()[:24], tag)


@given(st.text(), st.integers(1, 500), st.integers(1, 4), st.integers(0, 2**32))
def test_the_output_told_is_the_output_written_and_within_the_cap(prompt: str, cap: int, n: int, seed: int) -> None:
    made = _draft(Ask("m", prompt, 8, cap, n), seed=seed)
    assert made == _draft(Ask("m", prompt, 8, cap, n), seed=seed)
    tokens = [math.ceil(len(choice.text.encode()) / 4) for choice in made.choices]
    assert made.spent.output_tokens == sum(tokens)
    assert max(tokens) <= cap
    assert len(tokens) == n


def test_another_seed_writes_another_answer() -> None:
    assert _draft(Ask("m", "why?", 4), seed=1) != _draft(Ask("m", "why?", 4), seed=2)


def test_an_answer_echoes_the_tag_and_the_prompt() -> None:
    """Whoever holds a line and its answer can tell that they belong together."""
    made = _draft(Ask("m", "why is it so?", 12), tag="x7")
    assert made.choices[0].text.startswith(f"echo x7 {made.serial[:12]}: why is it so?")


def test_a_cut_answer_says_so() -> None:
    assert (
        _draft(Ask("m", "why?", 4, 3), ModelConfig(output_tokens=50, output_sigma=0)).choices[0].finish is Finish.LENGTH
    )
    assert (
        _draft(Ask("m", "why?", 4, 50), ModelConfig(output_tokens=50, output_sigma=0)).choices[0].finish is Finish.STOP
    )


def test_reasoning_comes_first_and_can_eat_the_whole_budget() -> None:
    made = _draft(Ask("deep-think", "why?", 4, 20))
    assert (made.choices[0].text, made.choices[0].finish) == ("", Finish.LENGTH)
    assert made.spent == Spent(1, 0, 0, 20, 20)


def test_a_stop_text_ends_the_answer() -> None:
    made = _draft(Ask("m", "one END two", 11, stop=("END",)), ModelConfig(output_tokens=50, output_sigma=0))
    assert made.choices[0].text.endswith("one ")
    assert made.choices[0].finish is Finish.STOP


def test_a_tool_is_called_with_arguments_that_fit() -> None:
    call = _draft(Ask("m", "hi", 2, tool=Tool("weather", _SCHEMA))).choices[0].tool
    assert call is not None
    assert list(orjson.loads(call.arguments)) == ["city"]


def test_json_is_whole_or_cut_and_says_which() -> None:
    whole = _draft(Ask("m", "hi", 2, json=True, schema=_SCHEMA)).choices[0]
    assert orjson.loads(whole.text)["city"]
    cut = _draft(Ask("m", "hi", 2, 2, json=True, schema=_SCHEMA)).choices[0]
    assert cut.finish is Finish.LENGTH
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut.text)


def test_cached_and_written_tokens_are_parts_of_the_input() -> None:
    spent = _draft(Ask("m", "hi", 4000), ModelConfig(cached_share=0.5, cache_write_share=0.25)).spent
    assert (spent.input_tokens, spent.cached_tokens, spent.cache_write_tokens) == (1000, 500, 250)


def test_an_embedding_depends_on_its_text_alone_and_has_length_one() -> None:
    made = _draft(Ask("e", "", 8, texts=("alpha", "beta", "alpha"), dimensions=5))
    assert made.vectors[0] == made.vectors[2] != made.vectors[1]
    assert math.fsum(value**2 for value in made.vectors[0]) == pytest.approx(1)
    assert made.spent == Spent(input_tokens=5)
