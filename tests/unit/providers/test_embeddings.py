"""Embeddings asked for in one provider's form and made by another."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from bucketline.failure import Failure, Kind
from bucketline.request import Form
from tests.conformance.providers.official import judge_answer, judge_request
from tests.samples import line, reply, route, sample
from worker.providers import Answer, Call, adapter_for

OPENAI = line(Form.EMBEDDINGS, {"model": "e", "input": ["a", "b"], "dimensions": 4})
GOOGLE = line(Form.EMBED, {"content": {"parts": [{"text": "alpha"}]}, "outputDimensionality": 4})


def sent(wire: str, request: Any, **given: Any) -> Call:
    call = adapter_for(wire).call(request, route(wire, "e-1", project="p", **given), "k")
    assert isinstance(call, Call), call
    return call


@pytest.mark.parametrize("name", ["gemini/res.batch_embed", "vertex/res.embed.predict"])
def test_google_answers_a_line_of_openais_form(name: str) -> None:
    one = sample(name)
    result = adapter_for(one.wire).read(one.reply, OPENAI, route(one.wire, "e-1"))
    assert isinstance(result, Answer)
    judge_answer(Form.EMBEDDINGS, json.loads(result.body))
    assert result.raw == one.reply.body


def test_openai_answers_a_line_of_googles_form() -> None:
    body = json.loads(sent("openai", GOOGLE).body)
    judge_request("openai", body)
    assert (body["input"], body["dimensions"]) == ("alpha", 4)
    result = adapter_for("openai").read(sample("openai/res.embeddings").reply, GOOGLE, route())
    assert isinstance(result, Answer)
    assert json.loads(result.body)["embedding"]["values"] == [0.1, -0.2, 0.3, 0.4]


def test_vectors_come_in_the_order_of_their_indexes() -> None:
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    result = adapter_for("openai").read(reply(200, {"data": data, "model": "e"}), GOOGLE, route())
    assert isinstance(result, Answer)
    assert json.loads(result.body)["embedding"]["values"] == [1.0]


def test_packed_vectors_are_packed_for_whoever_asked_for_them() -> None:
    """OpenAI's SDK asks for base64 by default."""
    request = line(Form.EMBEDDINGS, {"model": "e", "input": "a", "encoding_format": "base64"})
    result = adapter_for("gemini").read(sample("gemini/res.embed").reply, request, route("gemini", "e-1"))
    assert isinstance(result, Answer)
    packed = base64.b64decode(json.loads(result.body)["data"][0]["embedding"])
    assert struct.unpack("<4f", packed) == pytest.approx([0.1, -0.2, 0.3, 0.4])


def test_one_text_and_many_go_to_their_own_method_of_google() -> None:
    one = line(Form.EMBEDDINGS, {"model": "e", "input": "a"})
    assert sent("gemini", one).url.endswith(":embedContent")
    assert sent("gemini", OPENAI).url.endswith(":batchEmbedContents")
    assert sent("vertex", OPENAI).url.endswith(":predict")


def test_a_line_of_googles_form_passes_to_google_as_it_is() -> None:
    assert sent("gemini", GOOGLE).body == GOOGLE.body


@pytest.mark.parametrize("wire", ["anthropic", "bedrock"])
def test_a_wire_without_embeddings_refuses_them_even_where_it_may_drop(wire: str) -> None:
    """Dropping the whole request would send, and pay for, an empty one."""
    result = adapter_for(wire).call(OPENAI, route(wire, "m", drop=True), "k")
    assert isinstance(result, Failure)
    assert result.kind is Kind.INEXPRESSIBLE


def test_token_ids_are_refused_where_only_texts_are_taken() -> None:
    request = line(Form.EMBEDDINGS, {"model": "e", "input": [[1, 2], [3]]})
    assert "input (token ids)" in adapter_for("gemini").refused(request, route("gemini", "e-1"))


@pytest.mark.parametrize("body", [{"data": []}, {"data": [{"index": 0}]}, {"data": None}, {}])
def test_an_answer_without_vectors_is_none(body: dict[str, Any]) -> None:
    result = adapter_for("openai").read(reply(200, body), OPENAI, route())
    assert isinstance(result, Failure)
    assert result.kind is Kind.EMPTY_ANSWER
