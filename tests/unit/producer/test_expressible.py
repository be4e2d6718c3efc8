"""What no route can express is told before money is spent, by name; what one route can express is sent."""

from __future__ import annotations

import json
from typing import Any

from bucketline.catalog import Catalog
from bucketline.settings import Settings
from producer.expressible import refusal
from producer.scan import BadLine, Scanner

SETTINGS = Settings.model_validate(
    {
        "providers": {
            "plain": {"base_url": "http://127.0.0.1:9/v1"},
            "gateway": {"preset": "llmapi", "base_url": "http://127.0.0.1:9/v1"},
            "claude": {"wire": "anthropic", "base_url": "http://127.0.0.1:9"},
        },
        "models": {
            "gateway": {"routes": [{"provider": "gateway", "model": "m"}]},
            "both": {"routes": [{"provider": "gateway", "model": "m"}, {"provider": "claude", "model": "claude-x"}]},
            "one-can": {"routes": [{"provider": "gateway", "model": "m"}, {"provider": "plain", "model": "m"}]},
            "dropping": {"routes": [{"provider": "gateway", "model": "m", "drop": True}]},
        },
    }
)


def faults(model: str, **asked: Any) -> list[BadLine]:
    body = {"model": model, "messages": [{"role": "user", "content": "a secret prompt"}], **asked}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    scanner = Scanner(Catalog(SETTINGS), on_line=refusal())
    return scanner.feed(json.dumps(line).encode() + b"\n") + scanner.finish()


def test_a_line_that_no_route_can_express_is_bad_and_names_what() -> None:
    """LLM.API drops a seed without a word: the answers would look reproducible and not be."""
    [bad] = faults("gateway", seed=7, stop=["x"])
    assert bad.custom_id == "a"
    assert "gateway/m cannot express stop, seed" in bad.message
    assert "drop = true" in bad.message


def test_the_sentence_names_each_route_and_no_value() -> None:
    [bad] = faults("both", seed=7, logit_bias={"50256": -100})
    assert "gateway/m cannot express seed" in bad.message
    assert "claude/claude-x cannot express" in bad.message
    assert "secret" not in bad.message
    assert "50256" not in bad.message


def test_a_line_that_one_route_can_express_is_sent() -> None:
    assert faults("one-can", seed=7, stop=["x"]) == []


def test_a_route_that_drops_refuses_nothing() -> None:
    assert faults("dropping", seed=7, stop=["x"]) == []


def test_a_line_that_asks_for_nothing_unusual_passes() -> None:
    assert faults("both") == []
