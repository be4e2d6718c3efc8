"""Embeddings between OpenAI's form and Google's: requests both ways, answers both ways.

Comes in: the body of an embeddings line, or a provider's answer. Goes out: the other side's body and what it cannot
say. Google's own API takes one text (``embedContent``) or many (``batchEmbedContents``); Vertex takes instances
(``predict``). Called by the ``openai`` and ``gemini`` adapters where form and wire differ.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Any

from bucketline.request import Form
from bucketline.usage import Usage
from worker.providers.forms.members import Members
from worker.providers.neutral import Vectors

__all__ = [
    "Texts",
    "read_embeddings",
    "read_google_vectors",
    "read_openai_vectors",
    "write_embeddings",
    "write_google",
    "write_vectors",
    "write_vertex",
]


@dataclass(frozen=True, slots=True)
class Texts:
    """What is to be turned into vectors. ``task`` and ``title`` are Google's alone."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    task: str | None = None
    title: str | None = None
    packed: bool = False  #: the line wants base64 of little-endian floats
    single: bool = False  #: the answer is one vector, not a list
    lost: tuple[str, ...] = ()


def read_embeddings(form: Form, params: dict[str, Any]) -> Texts:
    """The texts of an embeddings or an embedContent body; never raises."""
    body = Members(params)
    body.skip("model")
    if form is Form.EMBED:
        return _read_google(body)
    value = body.take("input")
    texts: tuple[str, ...] = ()
    if isinstance(value, str):
        texts = (value,)
    elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        texts = tuple(value)
    else:
        body.lose("input", "token ids")
    packed = body.text("encoding_format") == "base64"
    dimensions = body.whole("dimensions")
    body.finish()
    return Texts(texts, dimensions, packed=packed, lost=tuple(body.lost))


def _read_google(body: Members) -> Texts:
    config = body.inner("config")
    content = body.inner("content")
    content.skip("role")
    words = [part.text("text") or "" for part in content.each("parts")]
    task, title = body.text("taskType") or config.text("taskType"), body.text("title") or config.text("title")
    dimensions = body.whole("outputDimensionality") or config.whole("outputDimensionality")
    body.finish()
    return Texts(("".join(words),), dimensions, task, title, single=True, lost=tuple(body.lost))


def write_embeddings(texts: Texts, model: str) -> tuple[dict[str, Any], list[str]]:
    """OpenAI's body."""
    body: dict[str, Any] = {"model": model, "input": texts.texts[0] if len(texts.texts) == 1 else list(texts.texts)}
    if texts.dimensions is not None:
        body["dimensions"] = texts.dimensions
    lost = [name for name, value in (("taskType", texts.task), ("title", texts.title)) if value is not None]
    return body, lost


def write_google(texts: Texts, model: str) -> tuple[dict[str, Any], str]:
    """The body for Google's own API and the method it is for."""
    requests = [
        {"model": f"models/{model}", "content": {"parts": [{"text": text}]}, **_google_options(texts)}
        for text in texts.texts
    ]
    if len(requests) == 1:
        return requests[0], "embedContent"
    return {"requests": requests}, "batchEmbedContents"


def _google_options(texts: Texts) -> dict[str, Any]:
    given = {"outputDimensionality": texts.dimensions, "taskType": texts.task, "title": texts.title}
    return {name: value for name, value in given.items() if value is not None}


def write_vertex(texts: Texts) -> dict[str, Any]:
    """The body for Vertex's ``predict``."""
    extra = {name: value for name, value in (("task_type", texts.task), ("title", texts.title)) if value is not None}
    body: dict[str, Any] = {"instances": [{"content": text, **extra} for text in texts.texts]}
    if texts.dimensions is not None:
        body["parameters"] = {"outputDimensionality": texts.dimensions}
    return body


def read_openai_vectors(document: dict[str, Any], usage: Usage | None, model: str) -> Vectors:
    """OpenAI's answer, put in the order of its indexes."""
    data = [one for one in document.get("data") or () if isinstance(one, dict)]
    data.sort(key=lambda one: one["index"] if isinstance(one.get("index"), int) else 0)
    return Vectors(str(document.get("model") or model), tuple(one.get("embedding") for one in data), usage)


def read_google_vectors(document: dict[str, Any], usage: Usage | None, model: str) -> Vectors:
    """The answer of any of Google's three methods; empty where there is no vector in it."""
    if isinstance(document.get("embedding"), dict):
        entries: list[Any] = [document["embedding"]]
    elif isinstance(document.get("embeddings"), list):
        entries = document["embeddings"]
    else:
        listed = document.get("predictions")
        entries = (
            [p.get("embeddings") if isinstance(p, dict) else None for p in listed] if isinstance(listed, list) else []
        )
    values = [entry.get("values") if isinstance(entry, dict) else None for entry in entries]
    return Vectors(model, tuple(values) if all(values) else (), usage)


def write_vectors(vectors: Vectors, form: Form, *, packed: bool) -> dict[str, Any]:
    """The answer in the form of the line's url."""
    count = None if vectors.usage is None else vectors.usage.input_tokens
    if form is Form.EMBED:
        body: dict[str, Any] = {"embedding": {"values": vectors.vectors[0]}}
        return body if count is None else {**body, "usageMetadata": {"promptTokenCount": count}}
    data = [
        {"object": "embedding", "index": at, "embedding": _packed(vector) if packed else vector}
        for at, vector in enumerate(vectors.vectors)
    ]
    usage = {"prompt_tokens": count or 0, "total_tokens": count or 0}
    return {"object": "list", "model": vectors.model, "data": data, "usage": usage}


def _packed(vector: Any) -> Any:
    if not isinstance(vector, list) or not all(isinstance(number, int | float) for number in vector):
        return vector
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (OverflowError, struct.error):
        return vector
