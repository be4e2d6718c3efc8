"""Google's Gemini: ``:generateContent``, its stream, ``:embedContent`` and ``:batchEmbedContents``; Vertex's paths too.

In and out: see ``base.Wire``. Thoughts are told outside the candidates' tokens; a bad key is a 400; the delay of a 429
stands in the body (``RetryInfo``), and a daily limit shows a short one that does not help, as the real thing does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from worker.simulator.limits import Gauge, Refused, Scope
from worker.simulator.reading import chosen_tool, count, last_text, require_list, text_of, weigh
from worker.simulator.talk import Ask, Choice, Draft, Finish, Invalid, Spent, Tool
from worker.simulator.wires.base import Refusal, Trouble, Wire, Written, pieces_of

__all__ = ["BatchEmbed", "Embed", "Generate", "GenerateArray", "GenerateStream", "Predict"]

_TYPE: Final = "type.googleapis.com/google.rpc."
_QUOTA: Final[Mapping[Scope, str]] = {
    Scope.REQUESTS: "GenerateRequestsPerMinutePerProjectPerModel",
    Scope.TOKENS: "GenerateContentTokensPerMinutePerProjectPerModel",
    Scope.INPUT_TOKENS: "GenerateContentInputTokensPerMinutePerProjectPerModel",
    Scope.OUTPUT_TOKENS: "GenerateContentOutputTokensPerMinutePerProjectPerModel",
    Scope.REQUESTS_DAY: "GenerateRequestsPerDayPerProjectPerModel",
    Scope.TOKENS_DAY: "GenerateContentTokensPerDayPerProjectPerModel",
    Scope.CONCURRENCY: "GenerateConcurrentRequestsPerProject",
}  # fmt: skip
_ERRORS: Final[Mapping[Trouble, tuple[int, str, str]]] = {
    Trouble.UNAUTHORISED: (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    Trouble.NO_PATH: (404, "NOT_FOUND", "Not found."),
    Trouble.MODEL: (404, "NOT_FOUND", "models/{} is not found for API version v1beta, or is not supported for generateContent."),
    Trouble.INVALID: (400, "INVALID_ARGUMENT", "The request is not valid."),
    Trouble.CONTEXT: (400, "INVALID_ARGUMENT", "The input token count exceeds the maximum number of tokens allowed."),
    Trouble.LIMITED: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    Trouble.MONEY: (402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
    Trouble.SERVER: (500, "INTERNAL", "An internal error has occurred. Please retry or report."),
    Trouble.UNAVAILABLE: (503, "UNAVAILABLE", "The service is currently unavailable."),
    Trouble.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}  # fmt: skip


class _Gemini(Wire):
    """What all of Gemini's endpoints share."""

    def refuse(self, refusal: Refusal) -> Written:
        status, name, words = _ERRORS[refusal.trouble]
        message = refusal.message or words.format(refusal.model)
        error: dict[str, Any] = {"code": status, "message": message, "status": name}
        if refusal.trouble is Trouble.UNAUTHORISED:
            info = {"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            error["details"] = [info]
        elif refusal.trouble is Trouble.LIMITED:
            error |= _limited(message, refusal)
        return Written(status, orjson.dumps({"error": error}))

    def stream_error(self, refusal: Refusal) -> bytes:
        return b"data: " + self.refuse(refusal).body + b"\r\n\r\n"

    def headers(self, serial: str, gauges: Sequence[Gauge], now_s: float) -> dict[str, str]:
        del serial, gauges, now_s
        return {"x-gemini-service-tier": "standard"}


class Generate(_Gemini):
    """Contents in, candidates out."""

    endpoint = "generate"
    streams: ClassVar[bool] = False

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        contents = require_list(body, "contents")
        config = _either(body, "generationConfig", "generation_config") or {}
        prompt = last_text([{"content": _parts(turn)} for turn in contents], "content")
        schema = _either(config, "responseJsonSchema", "responseSchema", "response_schema")
        system = _either(body, "systemInstruction", "system_instruction")
        return Ask(
            model=model or "",
            prompt=prompt,
            input_bytes=weigh(contents) + weigh(system) + weigh(body.get("tools")),
            max_tokens=count(config, "maxOutputTokens", "max_output_tokens"),
            n=count(config, "candidateCount", "candidate_count") or 1,
            stream=self.streams,
            stop=tuple(_either(config, "stopSequences", "stop_sequences") or ()),
            tool=_tool(body, contents, prompt),
            json=_either(config, "responseMimeType", "response_mime_type") == "application/json",
            schema=schema,
        )

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        candidates = [
            {"index": index, "finishReason": _finish(choice), "content": _content(choice)}
            for index, choice in enumerate(draft.choices)
        ]
        return orjson.dumps(_answer(draft, candidates, _usage(draft.spent)))


class GenerateStream(Generate):
    """The same as server-sent events, lines ending in CRLF; the usage of the last one counts."""

    endpoint = "generate_stream"
    streams = True

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        return [b"data: " + orjson.dumps(value) + b"\r\n\r\n" for value in self._values(ask, draft)]

    def _values(self, ask: Ask, draft: Draft) -> list[dict[str, Any]]:
        del ask
        values = []
        for index, choice in enumerate(draft.choices):
            contents = [{"role": "model", "parts": [{"text": text}]} for text in pieces_of(choice.text)]
            contents = contents or [_content(choice)]
            last = len(contents) - 1
            for number, content in enumerate(contents):
                ending = {"finishReason": _finish(choice)} if number == last else {}
                values.append(_answer(draft, [{"index": index, "content": content} | ending], _usage(draft.spent)))
        return values or [_answer(draft, [], _usage(draft.spent))]


class GenerateArray(GenerateStream):
    """The same without ``alt=sse``: one JSON array that grows."""

    stream_type = "application/json; charset=UTF-8"

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        bodies = [orjson.dumps(value) for value in self._values(ask, draft)]
        return [b"[" + bodies[0], *(b",\r\n" + body for body in bodies[1:]), b"]"]

    def stream_error(self, refusal: Refusal) -> bytes:
        return b",\r\n" + self.refuse(refusal).body + b"]"


class Embed(_Gemini):
    """One content in, one vector out."""

    endpoint = "embed"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        return Ask(model or "", "", weigh(body.get("content")), texts=(_text(body),), dimensions=_dimensions(body))

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        usage = {"promptTokenCount": draft.spent.input_tokens}
        values = draft.vectors[0] if draft.vectors else ()
        return orjson.dumps({"embedding": {"values": values}, "usageMetadata": usage})


class BatchEmbed(_Gemini):
    """Several contents in, as many vectors out, in order."""

    endpoint = "batch_embed"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        requests = [request for request in require_list(body, "requests") if isinstance(request, dict)]
        texts = tuple(_text(request) for request in requests)
        return Ask(model or "", "", weigh(list(texts)), texts=texts, dimensions=_dimensions(requests[0]))

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        usage = {"promptTokenCount": draft.spent.input_tokens}
        return orjson.dumps({"embeddings": [{"values": v} for v in draft.vectors], "usageMetadata": usage})


class Predict(_Gemini):
    """Vertex's way to embed: instances in, predictions out, the tokens beside each."""

    endpoint = "predict"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        instances = [one for one in require_list(body, "instances") if isinstance(one, dict)]
        texts = tuple(str(one.get("content") or " ") for one in instances)
        dimensions = count(body.get("parameters") or {}, "outputDimensionality")
        return Ask(model or "", "", weigh(list(texts)), texts=texts, dimensions=dimensions)

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        counts = [draft.spent.input_tokens] + [0] * len(draft.vectors)  # the whole stands beside the first
        predictions = [
            {"embeddings": {"values": vector, "statistics": {"token_count": tokens, "truncated": False}}}
            for vector, tokens in zip(draft.vectors, counts, strict=False)
        ]
        return orjson.dumps({"predictions": predictions})


def _either(mapping: Mapping[str, Any], *names: str) -> Any:
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def _parts(turn: Any) -> Any:
    return turn.get("parts") if isinstance(turn, dict) else None


def _text(request: Mapping[str, Any]) -> str:
    if not isinstance(request.get("content"), dict):
        raise Invalid("content is required.", "content")
    return text_of(_parts(request["content"])) or " "


def _dimensions(request: Mapping[str, Any]) -> int | None:
    config = request.get("embedContentConfig")
    inner = config if isinstance(config, dict) else {}
    return count({**inner, **request}, "outputDimensionality", "output_dimensionality")


def _tool(body: Mapping[str, Any], contents: list[Any], prompt: str) -> Tool | None:
    tools = [
        Tool(
            str(made.get("name", "")),
            _either(made, "parametersJsonSchema", "parameters_json_schema", "parameters") or {},
        )
        for group in body.get("tools") or ()
        if isinstance(group, dict)
        for made in _either(group, "functionDeclarations", "function_declarations") or ()
    ]
    config = _either(body, "toolConfig", "tool_config") or {}
    calling = _either(config, "functionCallingConfig", "function_calling_config") or {}
    mode = str(calling.get("mode", "AUTO")).upper()
    if not tools or mode == "NONE":
        return None
    parts = _parts(contents[-1]) or []
    answered = any(isinstance(part, dict) and "functionResponse" in part for part in parts)
    allowed = _either(calling, "allowedFunctionNames", "allowed_function_names") or [None]
    forced = allowed[0] if mode == "ANY" else None
    return chosen_tool(tools, forced=forced, required=mode == "ANY", prompt="" if answered else prompt)


def _finish(choice: Choice) -> str:
    return "MAX_TOKENS" if choice.finish is Finish.LENGTH else "STOP"


def _content(choice: Choice) -> dict[str, Any]:
    if choice.tool is not None:
        call = {"id": choice.tool.id, "name": choice.tool.name, "args": orjson.loads(choice.tool.arguments)}
        return {"role": "model", "parts": [{"functionCall": call}]}
    return {"role": "model", "parts": [{"text": choice.text}]} if choice.text else {"role": "model"}


def _answer(draft: Draft, candidates: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
    answer = {"usageMetadata": usage, "modelVersion": draft.model, "responseId": draft.serial}
    return answer | ({"candidates": candidates} if candidates else {})


def _usage(spent: Spent) -> dict[str, Any]:
    usage: dict[str, Any] = {"promptTokenCount": spent.input_tokens}
    if spent.cached_tokens:
        usage["cachedContentTokenCount"] = spent.cached_tokens
    if visible := spent.output_tokens - spent.reasoning_tokens:
        usage["candidatesTokenCount"] = visible
    if spent.reasoning_tokens:
        usage["thoughtsTokenCount"] = spent.reasoning_tokens
    details = [{"modality": "TEXT", "tokenCount": spent.input_tokens}]
    return usage | {"totalTokenCount": spent.input_tokens + spent.output_tokens, "promptTokensDetails": details}


def _limited(message: str, refusal: Refusal) -> dict[str, Any]:
    """Message and details of a 429."""
    details: list[dict[str, Any]] = []
    if (refused := refusal.refused) is not None:
        details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [_violation(refusal.model, refused)]})
    delay_s = refusal.retry_after_s
    if refused is not None and refused.scope in {Scope.REQUESTS_DAY, Scope.TOKENS_DAY}:
        delay_s = 30.0
    if delay_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{math.ceil(delay_s * 1000) / 1000:g}s"})
        message = f"{message} Please retry in {math.ceil(delay_s * 1000) / 1000:g}s."
    return {"message": message, "details": details}


def _violation(model: str, refused: Refused) -> dict[str, Any]:
    return {
        "quotaMetric": f"generativelanguage.googleapis.com/generate_content_{refused.scope.value}",
        "quotaId": _QUOTA[refused.scope],
        "quotaDimensions": {"model": model, "location": "global"},
        "quotaValue": str(refused.limit),
    }
