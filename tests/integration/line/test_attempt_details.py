"""What a call carries and keeps: an id of our own, the next route where one refuses, the provider's own body."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from bucketline.batch import BatchOptions, Progress
from bucketline.settings import Settings
from tests.integration.line.answering import Answering, answering
from worker.local import LocalRun, run_local

MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "yes"}], "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip
COMPLETION = {
    "id": "c", "object": "chat.completion", "model": "m", "created": 1,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}  # fmt: skip


def line(custom_id: str, model: str, **asked: Any) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **asked}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})


async def run(folder: Path, server: Answering, lines: list[str], **options: Any) -> dict[str, Any]:
    """Run the lines through a plan of two routes at one server; the lines of the results by id."""
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    settings = Settings.model_validate(
        {
            "providers": {
                "gateway": {"preset": "llmapi", "base_url": f"{server.url}/gateway", "api_key_env": "NO_KEY"},
                "claude": {"wire": "anthropic", "base_url": server.url, "idempotency_header": "Idempotency-Key"},
                "plain": {"base_url": f"{server.url}/plain", "headers": {"X-Team": "maps", "Authorization": "Own t"}},
            },
            "models": {
                "claude": {"routes": [{"provider": "claude", "model": "claude-x"}]},
                "gateway": {"routes": [{"provider": "gateway", "model": "m"}]},
                "both": {"routes": [{"provider": "gateway", "model": "m"}, {"provider": "plain", "model": "m"}]},
            },
            "retry": {"base_delay_s": 0.01, "max_delay_s": 0.05},
        }
    )

    def silent(_: Progress) -> None: ...

    order = LocalRun(str(folder / "in.jsonl"), folder / "out", BatchOptions(**options))
    await run_local(order, settings, silent, asyncio.Event())
    found = {}
    for name in ("output.jsonl", "errors.jsonl"):
        for raw in (folder / "out" / name).read_text().splitlines():
            found[json.loads(raw)["custom_id"]] = json.loads(raw)
    return found


async def test_what_every_route_refuses_ends_at_submit_and_the_others_take_what_one_refuses(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("NO_KEY", "k")
    async with answering(lambda call: (200, {}, COMPLETION)) as server:
        found = await run(tmp_path, server, [line("a", "gateway", seed=1), line("b", "both", seed=1)])
    assert found["a"]["error"]["code"] == "invalid_input"
    assert "gateway/m cannot express seed" in found["a"]["error"]["message"]
    assert found["a"]["bucketline"]["attempts"] == 0
    assert found["b"]["bucketline"]["provider"] == "plain"
    assert [call.path for call in server.calls] == ["/plain/chat/completions"]
    assert json.loads(server.calls[0].body)["seed"] == 1


async def test_headers_of_a_provider_go_with_its_calls_and_with_no_others(tmp_path: Path, monkeypatch: Any) -> None:
    """Gateways tell teams apart by them; another provider must not see what was meant for one."""
    monkeypatch.setenv("NO_KEY", "k")
    refused = (404, {}, {"error": {"message": "no such model", "type": "x", "code": "model_not_found"}})
    async with answering(lambda call: refused if "gateway" in call.path else (200, {}, COMPLETION)) as server:
        await run(tmp_path, server, [line("a", "both")])
    gateway, plain = (call.headers for call in server.calls)
    assert (plain["x-team"], plain["authorization"]) == ("maps", "Own t")
    assert "x-team" not in gateway
    assert gateway["authorization"] == "Bearer k"


async def test_each_call_names_itself_to_the_provider(tmp_path: Path) -> None:
    """When a provider is asked about a call, its own id may never have arrived; ours did."""
    replies = iter([(500, {}, {"error": {"message": "no", "type": "api_error"}}), (200, {}, MESSAGE)])
    async with answering(lambda call: next(replies)) as server:
        found = await run(tmp_path, server, [line("a", "claude")])
    told = [call.headers["x-client-request-id"] for call in server.calls]
    assert told == [f"{found['a']['id']}_1", f"{found['a']['id']}_2"]


async def test_a_call_whose_answer_was_lost_is_made_again_under_its_key_and_an_answered_one_is_not(
    tmp_path: Path,
) -> None:
    """A host that knows such keys then does the work once; under an old key it would only repeat its old error."""
    lost, refused, good = (
        (0, {}, None),
        (500, {}, {"error": {"message": "no", "type": "api_error"}}),
        (200, {}, MESSAGE),
    )
    replies = iter([lost, refused, lost, good, good])
    async with answering(lambda call: next(replies)) as server:
        found = await run(tmp_path, server, [line("a", "claude")])
        (tmp_path / "again").mkdir()
        await run(tmp_path / "again", server, [line("a", "claude")])
    keys = [call.headers["idempotency-key"] for call in server.calls]
    assert found["a"]["bucketline"]["attempts"] == 4
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 3, "another batch's line is another request"


async def test_the_providers_own_body_is_kept_beside_a_translated_one_where_it_was_asked_for(tmp_path: Path) -> None:
    for folder, raw in ((tmp_path / "with", True), (tmp_path / "without", False)):
        folder.mkdir()
        async with answering(lambda call: (200, {}, MESSAGE)) as server:
            found = await run(folder, server, [line("a", "claude")], raw=raw)
        response = found["a"]["response"]
        assert response["body"]["object"] == "chat.completion"
        assert response.get("raw") == (MESSAGE if raw else None)
