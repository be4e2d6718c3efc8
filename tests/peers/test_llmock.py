"""llmock: refuses, fails, breaks streams off, and judges how its client behaved.

Our own simulator shares our reading of the providers' documents; this one does not. Its verdict must find no refusal
ignored, no call repeated that could not go well, and no storm of repeats. It speaks the wires of OpenAI, Anthropic and
Gemini. ``make test-peers``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import pytest

from tests.integration.e2e.conftest import Command, command
from tests.peers.batch import asked, run_through, serving

__all__ = ["command"]

FAULTS = ("--error-rate", "429=0.01", "--error-rate", "500=0.03", "--error-rate", "503=0.02")
BROKEN_STREAMS = (
    "--stream-fault",
    "truncate=0.03",
    "--stream-fault",
    "disconnect=0.03",
    "--stream-fault",
    "malformed=0.02",
)
BASES = {"openai": "/v1", "anthropic": "/anthropic", "gemini": "/gemini"}


@pytest.fixture
def llmock() -> list[str]:
    if importlib.util.find_spec("llmock") is None:
        sentence = "llmock is not installed (pip install 'llmock>=0.2.2,<0.3')"
        pytest.fail(sentence) if os.environ.get("CI") else pytest.skip(sentence)
    serve = "from llmock.cli import app; app()"
    return [sys.executable, "-c", serve, "serve", "-h", "127.0.0.1", "-p", "{port}", "--log-level", "error"]


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["never", "always"])
@pytest.mark.parametrize("wire", BASES)
def test_five_hundred_lines_through_injected_faults(
    command: Command, llmock: list[str], wire: str, stream: str
) -> None:
    command.env["PEER_KEY"] = "sk-peer"
    with serving([*llmock, *FAULTS, *(BROKEN_STREAMS if stream == "always" else ())]) as url:
        provider = {"wire": wire, "base_url": url + BASES[wire], "api_key_env": "PEER_KEY", "stream": stream}
        results = run_through(command, provider)
        verdict, requests = asked(f"{url}/_llmock/verdict"), asked(f"{url}/_llmock/requests")
    served = requests["requests"] if isinstance(requests, dict) else requests
    assert results.manifest["counts"]["attempts"] == len(served)
    assert serious(verdict) == []


def serious(verdict: dict[str, Any]) -> list[Any]:
    """What the mock holds against its client as an error."""
    found = verdict.get("findings") or verdict.get("issues") or []
    return [one for one in found if one.get("severity", one.get("level")) == "error"]
