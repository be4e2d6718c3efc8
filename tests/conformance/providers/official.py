"""The official SDKs' types as judges: of requests that we write and of answers that we translate."""

from __future__ import annotations

import functools
import json
import typing
from typing import Any

import botocore.loaders
import botocore.model
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai import models as google_models
from google.genai import types as google
from openai.types import CreateEmbeddingResponse, EmbeddingCreateParams
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import Response
from pydantic import BaseModel, TypeAdapter

from bucketline.request import Form

_SERVICE = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime"
)
_OLDER_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_CONVERSE = _SERVICE.operation_model("Converse")


def judge_request(wire: str, body: dict[str, Any]) -> None:
    """Fail when the wire's own SDK would not have written such a body."""
    match wire:
        case "openai" if "input" in body:
            _typed(EmbeddingCreateParams, body)
        case "openai":
            _typed(CompletionCreateParamsNonStreaming, body)
        case "anthropic":
            # The SDK's types are of the newest API version; under 2023-06-01 older models take sampling parameters.
            _typed(MessageCreateParamsNonStreaming, {k: v for k, v in body.items() if k not in _OLDER_SAMPLING})
        case "bedrock":
            _shape(_CONVERSE.input_shape, body)
        case _:
            _google(body)


def judge_answer(form: Form, body: dict[str, Any]) -> BaseModel:
    """The answer as the form's SDK reads it; fail when it does not."""
    match form:
        case Form.CHAT:
            return ChatCompletion.model_validate(body)
        case Form.RESPONSES:
            return Response.model_validate(body)
        case Form.EMBEDDINGS:
            return CreateEmbeddingResponse.model_validate(body)
        case Form.MESSAGES:
            return Message.model_validate(body)
        case Form.EMBED:
            return google.ContentEmbedding.model_validate(body["embedding"])
        case _:
            for candidate in body["candidates"]:
                google.Candidate.model_validate(candidate)
            converted = google_models._GenerateContentResponse_from_mldev(json.loads(json.dumps(body)))
            return google.GenerateContentResponse.model_validate(converted)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Kept alive: the lazy iterators of a validated value hold only weak references to it."""
    return TypeAdapter(kind)


def _typed(kind: Any, body: dict[str, Any]) -> None:
    extra = set(body) - set(typing.get_type_hints(kind))
    assert not extra, f"members that the SDK does not know: {extra}"
    _exhaust(_adapter(kind).validate_python(body))


def _exhaust(value: Any) -> None:
    """Iterables in the SDKs' types are checked as they are walked."""
    if isinstance(value, dict):
        for inner in value.values():
            _exhaust(inner)
    elif not isinstance(value, str | bytes | int | float | bool | type(None) | BaseModel):
        for inner in value:
            _exhaust(inner)


def _google(body: dict[str, Any]) -> None:
    body = dict(body)
    for content in body.pop("contents"):
        google.Content.model_validate(content)
    for name, kind in (
        ("systemInstruction", google.Content),
        ("toolConfig", google.ToolConfig),
        ("generationConfig", google.GenerationConfig),
    ):
        if name in body:
            kind.model_validate(body.pop(name))
    for tool in body.pop("tools", []):
        google.Tool.model_validate(tool)
    extra = set(body) - {"safetySettings", "cachedContent", "labels", "serviceTier", "store"}
    assert not extra, f"members that the API does not know: {extra}"


def _shape(shape: Any, value: Any, place: str = "") -> None:
    """No member that the service model does not know, none that it requires missing, each of its type."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        missing = set(shape.required_members) - set(value) - {"modelId"}
        assert not missing, f"{place} lacks {missing}"
        for name, inner in value.items():
            assert name in shape.members, f"unknown {place}.{name}"
            _shape(shape.members[name], inner, f"{place}.{name}")
    elif shape.type_name == "list":
        for inner in value:
            _shape(shape.member, inner, place + "[]")
    else:
        kinds = {"string": str, "integer": int, "float": (int, float), "boolean": bool, "blob": str}
        kind = kinds.get(shape.type_name)
        assert kind is None or isinstance(value, kind), f"{place} is no {shape.type_name}"
        assert not getattr(shape, "enum", None) or value in shape.enum, f"{place} is none of {shape.enum}"
