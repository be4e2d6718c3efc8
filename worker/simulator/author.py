"""Writes the answer of a request: an echo, a JSON document or a call of a tool, always the same for the same request.

In: an ``Ask``, the model's settings, the request's dice and serial, and the tag its text may carry (``tag:NAME``).
Out: a ``Draft``. A text begins ``echo TAG SERIAL:`` and goes on with the prompt, over and over, for a lognormal
number of tokens, four bytes each; ``max_tokens`` cuts it, reasoning first. A JSON answer is as long as its value needs.
Pure; ``provider`` calls it once for each call, before anything is decided, because limits count what will be used.
"""

from __future__ import annotations

import math
from hashlib import shake_128
from typing import Final

import orjson

from worker.simulator.config import ModelConfig
from worker.simulator.dice import Dice
from worker.simulator.reading import tokens_of, utf8_bytes
from worker.simulator.schema import example
from worker.simulator.talk import Ask, Choice, Draft, Finish, Spent, ToolCall

__all__ = ["draft", "reasons"]

_MARKERS: Final = ("think", "reason")  #: in a model's name: it reasons
_REASONING_TOKENS: Final = 200.0
_REASONING, _LENGTH = 0, 1  # places of the dice; further choices take further places
_TEXT_BYTES: Final = 4
_LONGEST_TOKENS: Final = 100_000


def reasons(name: str, model: ModelConfig) -> float:
    """The median of the model's reasoning tokens; 0 for one that does not reason."""
    if model.reasoning_tokens is not None:
        return model.reasoning_tokens
    return _REASONING_TOKENS if any(marker in name for marker in _MARKERS) else 0.0


def draft(ask: Ask, model: ModelConfig, dice: Dice, serial: str, tag: str) -> Draft:
    """The answer that this model gives to this request."""
    served = model.served_as or ask.model
    if ask.texts is not None:
        tokens = sum(max(1, tokens_of(utf8_bytes(text))) for text in ask.texts)
        vectors = tuple(_vector(text, ask.dimensions or model.dimensions) for text in ask.texts)
        return Draft(serial, served, (), Spent(input_tokens=tokens), vectors)
    thought = round(dice.lognormal(_REASONING, reasons(ask.model, model), model.output_sigma))
    cap = min(ask.max_tokens or _LONGEST_TOKENS, _LONGEST_TOKENS)
    thought = min(thought, cap)
    choices = tuple(_choice(ask, model, dice, _mark(serial, tag), index, cap - thought) for index in range(ask.n))
    visible = sum(_choice_tokens(choice) for choice in choices)
    input_tokens = max(1, tokens_of(ask.input_bytes))
    spent = Spent(
        input_tokens,
        int(input_tokens * model.cached_share),
        int(input_tokens * model.cache_write_share),
        visible + thought * ask.n,
        thought * ask.n,
    )
    return Draft(serial, served, choices, spent)


def _mark(serial: str, tag: str) -> str:
    return f"{tag} {serial[:12]}" if tag else serial[:12]


def _choice(ask: Ask, model: ModelConfig, dice: Dice, mark: str, index: int, room: int) -> Choice:
    """One answer of at most ``room`` tokens."""
    if room <= 0:
        return Choice("", Finish.LENGTH)
    if ask.tool is not None:
        arguments = orjson.dumps(example({"type": "object"} | dict(ask.tool.schema), mark))
        call = ToolCall(f"call_{mark[-12:]}{index}", ask.tool.name, arguments)
        choice = Choice("", Finish.TOOL, call)
        return choice if _choice_tokens(choice) <= room else _cut(arguments.decode() + " " * room * _TEXT_BYTES, room)
    if ask.json or ask.schema is not None:
        value = example(ask.schema, mark) if ask.schema is not None else {"echo": mark}
        return _cut(orjson.dumps(value).decode(), room)
    wanted = max(1, round(dice.lognormal(_LENGTH + index % 7, model.output_tokens, model.output_sigma)))
    text = _echo(mark if index == 0 else f"{mark} {index}", ask.prompt, min(wanted, room))
    stop = min((at for word in ask.stop if word and (at := text.find(word)) >= 0), default=None)
    if stop is not None:
        return Choice(text[:stop], Finish.STOP)
    return Choice(text, Finish.LENGTH if wanted > room else Finish.STOP)


def _choice_tokens(choice: Choice) -> int:
    call = choice.tool
    if call is not None:
        return tokens_of(len(call.arguments)) + tokens_of(utf8_bytes(call.name))
    return tokens_of(utf8_bytes(choice.text))


def _echo(mark: str, prompt: str, tokens: int) -> str:
    """``echo MARK: PROMPT PROMPT …``, as long as this many tokens are."""
    size = tokens * _TEXT_BYTES
    prompt = prompt[:size]
    line = f"echo {mark}: {prompt} "
    again = f"{prompt} " if prompt else ". "
    text = line + again * max(0, math.ceil((size - len(line)) / len(again)))
    return text[:size] if text.isascii() else text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


def _cut(text: str, room: int) -> Choice:
    if tokens_of(utf8_bytes(text)) <= room:
        return Choice(text, Finish.STOP)
    return Choice(text.encode()[: room * _TEXT_BYTES].decode("utf-8", "ignore"), Finish.LENGTH)


def _vector(text: str, dimensions: int) -> tuple[float, ...]:
    """A vector of length one that depends on the text alone."""
    noise = shake_128(text.encode("utf-8", "surrogatepass")).digest(dimensions * 2)
    numbers = [int.from_bytes(noise[at : at + 2], "little", signed=True) + 0.5 for at in range(0, len(noise), 2)]
    length = math.sqrt(sum(number * number for number in numbers))
    return tuple(number / length for number in numbers)
