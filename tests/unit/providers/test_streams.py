"""A streamed call comes to the same answer as an unstreamed one, and a stream that breaks off is never an answer."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bucketline.failure import Failure, Kind
from bucketline.request import Form
from tests.samples import FIXTURES, chat_line, line, reply, route
from worker.providers import Answer, Call, adapter_for
from worker.simulator.wires.frames import EVENT_STREAM, exception_frame, frame

CHAT = chat_line()
MESSAGES = line(Form.MESSAGES, {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
GENERATE = line(Form.GENERATE, {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
OF_FOLDER = {"anthropic": ("anthropic", MESSAGES), "gemini": ("gemini", GENERATE)}


def stream(*chunks: Any, end: bytes = b"data: [DONE]\n\n", line_end: bytes = b"\n") -> bytes:
    written = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + end
    return written.replace(b"\n", line_end)


def read(body: bytes, request: Any = CHAT, wire: str = "openai") -> Answer | Failure:
    return adapter_for(wire).read(reply(200, body, content_type="text/event-stream"), request, route(wire, "m"))


def piece(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m-1", "choices": [choice], **more}


USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}


def test_content_reasoning_calls_and_usage_are_put_together() -> None:
    body = stream(
        piece({"role": "assistant", "content": None, "reasoning_content": "let "}),
        piece({"reasoning_content": "me"}),
        piece({"content": "Os"}),
        piece({"content": "lo"}),
        piece(
            {
                "tool_calls": [
                    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "w", "arguments": ""}}
                ]
            }
        ),
        piece(
            {
                "tool_calls": [
                    {"index": 1, "id": "call_2", "type": "function", "function": {"name": "v", "arguments": "{}"}}
                ]
            }
        ),
        piece({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        piece({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        piece({}, "tool_calls"),
        USAGE,
    )
    result = read(body)
    assert isinstance(result, Answer)
    document = json.loads(result.body)
    message = document["choices"][0]["message"]
    assert document["object"] == "chat.completion"
    assert (message["reasoning_content"], message["content"]) == ("let me", "Oslo")
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "w", "arguments": '{"a":1}'},
        {"name": "v", "arguments": "{}"},
    ]
    assert (result.finish_reason, result.served_model, result.usage and result.usage.total_tokens) == (
        "tool_calls",
        "m-1",
        7,
    )


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_comments_keep_alives_and_either_line_end_are_no_matter(line_end: bytes) -> None:
    body = b": OPENROUTER PROCESSING\n\n: keep-alive\n\n" + stream(piece({"content": "ok"}, "stop"), USAGE)
    result = read(body.replace(b"\n", line_end))
    assert isinstance(result, Answer)


def test_usage_in_the_last_choice_counts_as_moonshot_sends_it() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "cached_tokens": 4}
    last = piece({}, "stop")
    last["choices"][0]["usage"] = usage
    result = read(stream(piece({"content": "ok"}), last))
    assert isinstance(result, Answer)
    assert result.usage is not None
    assert (result.usage.input_tokens, result.usage.cached_input_tokens) == (9, 4)


@pytest.mark.parametrize("cut", [b"", b"data: [DONE"])
def test_a_stream_without_its_end_is_a_cut_body(cut: bytes) -> None:
    result = read(stream(piece({"content": "half an ans"}), end=cut))
    assert isinstance(result, Failure)
    assert result.kind is Kind.CUT_BODY


def test_a_stream_whose_every_choice_has_ended_and_was_counted_needs_no_end_marker() -> None:
    """Some hosts forget it; nothing can be missing then, and the answer is paid for."""
    result = read(stream(piece({"content": "ok"}, "stop"), USAGE, end=b""))
    assert isinstance(result, Answer)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 502, "message": "Provider disconnected"}, Kind.ERROR_IN_200),
        ({"type": "server_error", "message": "sorry", "code": None}, Kind.ERROR_IN_200),
        ({"type": "insufficient_quota", "code": "insufficient_quota", "message": "pay"}, Kind.ACCOUNT_EXHAUSTED),
        ({"code": 429, "message": "slow"}, Kind.RATE_LIMIT),
    ],
)
def test_an_error_in_the_middle_is_a_failure_by_its_own_word(error: dict[str, Any], kind: Kind) -> None:
    result = read(stream(piece({"content": "Hel"}), {"error": error}, end=b""))
    assert isinstance(result, Failure)
    assert result.kind is kind
    assert result.body is not None
    assert json.loads(result.body)["error"]


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.glob("*/*.sse.txt")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_recorded_streams(path: Any) -> None:
    wire, request = OF_FOLDER.get(path.parent.name, ("openai", CHAT))
    result = read(path.read_bytes(), request, wire)
    if "midway" in path.name:
        assert isinstance(result, Failure)
        assert result.row.retry
    else:
        assert isinstance(result, Answer)
        assert result.usage is not None
        assert result.finish_reason == "stop"


def test_anthropics_blocks_are_put_together_with_their_signature_and_input() -> None:
    start = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [],
             "stop_reason": None, "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1}}}  # fmt: skip
    events = [
        start,
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "t", "name": "w", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Oslo"}'}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 9, "input_tokens": None},
        },
        {"type": "message_stop"},
    ]
    result = read(stream(*events, end=b""), MESSAGES, "anthropic")
    assert isinstance(result, Answer)
    assert json.loads(result.body)["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "tool_use", "id": "t", "name": "w", "input": {"city": "Oslo"}},
    ]
    assert result.usage is not None
    assert (result.usage.input_tokens, result.usage.output_tokens) == (8, 9)


def converse(*frames: bytes) -> Answer | Failure:
    return adapter_for("bedrock").read(
        reply(200, b"".join(frames), content_type=EVENT_STREAM), MESSAGES, route("bedrock", "m", region="eu-west-1")
    )


def block(index: int, **delta: Any) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


CONVERSED = [
    frame("messageStart", {"role": "assistant"}),
    block(0, reasoningContent={"text": "h"}),
    block(0, reasoningContent={"text": "m"}),
    block(0, reasoningContent={"signature": "sig"}),
    block(1, text="Os"),
    block(1, text="lo"),
    frame("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "w"}}}),
    block(2, toolUse={"input": '{"city":'}),
    block(2, toolUse={"input": '"Oslo"}'}),
    frame("contentBlockStop", {"contentBlockIndex": 2}),
    frame("messageStop", {"stopReason": "tool_use"}),
    frame("metadata", {"usage": {"inputTokens": 5, "cacheReadInputTokens": 3, "outputTokens": 9}, "metrics": {"latencyMs": 1}}),
]  # fmt: skip


def test_amazons_frames_are_put_together_to_the_unstreamed_answer() -> None:
    result = converse(*CONVERSED)
    assert isinstance(result, Answer)
    assert result.raw is not None
    raw = json.loads(result.raw)
    assert raw["output"]["message"] == {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
            {"text": "Oslo"},
            {"toolUse": {"toolUseId": "t", "name": "w", "input": {"city": "Oslo"}}},
        ],
    }
    assert (raw["stopReason"], result.finish_reason) == ("tool_use", "tool_calls")
    assert result.usage is not None
    assert (result.usage.input_tokens, result.usage.cached_input_tokens, result.usage.output_tokens) == (8, 3, 9)


def test_cited_text_of_a_stream_stands_where_an_unstreamed_answer_has_it() -> None:
    cited = block(0, citation={"title": "Atlas"})
    result = converse(CONVERSED[0], block(0, text="Oslo"), cited, *CONVERSED[-2:])
    assert isinstance(result, Answer)
    assert result.raw is not None
    content = json.loads(result.raw)["output"]["message"]["content"]
    assert content == [{"citationsContent": {"content": [{"text": "Oslo"}], "citations": [{"title": "Atlas"}]}}]
    assert b"Oslo" in result.body


@pytest.mark.parametrize("gone", [1, 2, 11, -3])
def test_amazons_stream_without_its_end_or_with_a_damaged_frame_is_a_cut_body(gone: int) -> None:
    """Frames carry checksums: what was bitten on the way must not pass for an answer."""
    result = converse(*CONVERSED[:gone]) if gone > 0 else converse(b"".join(CONVERSED)[:gone])
    assert isinstance(result, Failure)
    assert result.kind is Kind.CUT_BODY
    whole = bytearray(b"".join(CONVERSED))
    whole[len(whole) // 2] ^= 1
    damaged = converse(bytes(whole))
    assert isinstance(damaged, Failure)
    assert damaged.kind is Kind.CUT_BODY


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("throttlingException", Kind.RATE_LIMIT),
        ("internalServerException", Kind.ERROR_IN_200),
        ("modelStreamErrorException", Kind.ERROR_IN_200),
        ("serviceUnavailableException", Kind.OVERLOAD),
        ("validationException", Kind.BAD_REQUEST),
    ],
)
def test_an_exception_among_amazons_frames_is_the_failure_of_its_name(exception: str, kind: Kind) -> None:
    result = converse(*CONVERSED[:4], exception_frame(exception, "sorry"))
    assert isinstance(result, Failure)
    assert result.kind is kind
    assert "sorry" in result.message


def test_the_closing_event_of_responses_is_the_answer() -> None:
    response = {
        "id": "r", "object": "response", "status": "completed", "model": "m", "error": None,
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "ok"}]}],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }  # fmt: skip
    request = line(Form.RESPONSES, {"model": "m", "input": "hi"})
    body = stream(
        {"type": "response.output_text.delta", "delta": "ok"},
        {"type": "response.completed", "response": response},
        end=b"",
    )
    result = read(body, request)
    assert isinstance(result, Answer)
    assert json.loads(result.body) == response
    assert isinstance(read(body[: len(body) // 2], request), Failure)


def test_a_host_that_answers_a_streamed_call_in_one_piece_is_understood() -> None:
    whole = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}]}
    assert isinstance(read(json.dumps(whole).encode()), Answer)


def sent(wire: str, request: Any, **given: Any) -> Call:
    call = adapter_for(wire).call(request, route(wire, **given), "k")
    assert isinstance(call, Call)
    return call


def test_the_lines_own_wish_to_stream_goes_and_ours_comes() -> None:
    """A line may not stream; whether the call does is the route's business."""
    request = chat_line(stream=True, stream_options={"include_usage": False})
    plain = json.loads(sent("openai", request, stream="never").body)
    assert not {"stream", "stream_options"} & set(plain)
    streamed = json.loads(sent("openai", request, stream="always").body)
    assert (streamed["stream"], streamed["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    ("wire", "host", "model", "params", "streams"),
    [
        ("openai", "", "alpha-small", {}, False),
        ("openai", "", "moonshotai/Kimi-K2-Thinking", {}, True),
        ("openai", "", "deepseek-r1", {}, True),
        ("openai", "", "alpha-small", {"reasoning_effort": "high"}, True),
        ("openai", "openai", "gpt-5.4", {}, True),
        ("openai", "openai", "gpt-5.4", {"reasoning_effort": "low"}, False),
        ("openai", "openai", "gpt-4.1", {}, False),
        ("openai", "moonshot", "kimi-k2.6", {}, True),
        ("openai", "", "alpha-small", {"max_tokens": 64000}, True),
        ("anthropic", "", "claude-sonnet-5", {"thinking": {"type": "adaptive"}}, True),
        ("anthropic", "", "claude-sonnet-5", {}, False),
        ("bedrock", "", "moonshot.kimi-k2-thinking", {}, True),
        ("bedrock", "", "amazon.nova-lite-v1:0", {}, False),
        ("gemini", "", "gemini-3-pro", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}, True),
    ],
)
def test_long_thinkers_are_streamed_when_left_to_us(
    wire: str, host: str, model: str, params: dict[str, Any], streams: bool
) -> None:
    way = route(wire, model, host, stream="auto", preset=host or None)
    assert adapter_for(wire).wants_stream(chat_line(**params), way) is streams


@pytest.mark.parametrize("framing", ["events", "frames"])
def test_long_streams_are_joined_in_time_that_grows_with_their_length(framing: str) -> None:
    """Thirty minutes of thinking are a hundred thousand pieces."""

    def took(pieces: int) -> float:
        events = [piece({"reasoning_content": "thought "})] * pieces if framing == "events" else []
        body = stream(*events, piece({"content": "ok"}, "stop"), USAGE)
        thoughts = block(0, reasoningContent={"text": "thought "}) * pieces
        began = time.process_time()
        result = read(body) if framing == "events" else converse(CONVERSED[0], thoughts, *CONVERSED[4:])
        assert isinstance(result, Answer)
        return time.process_time() - began

    took(200)
    assert took(20_000) < 60 * max(took(1_000), 0.001)
