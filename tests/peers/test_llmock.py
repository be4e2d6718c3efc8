"""Batches against a mock of other hands, which breaks on purpose and judges how its client behaved.

Our own simulator shares our reading of the providers' documents; this one does not. Each wire runs five hundred lines
while calls are refused, fail and, where they stream, break off; every line must end once and well, and the mock's verdict
must find no refusal ignored, no call repeated that could not go well, and no storm of repeats. ``make test-peers``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.integration.e2e.conftest import Command, command, results_in

__all__ = ["command"]

LINES = 500
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


@pytest.fixture(autouse=True)
def installed() -> None:
    if importlib.util.find_spec("llmock") is None:
        if os.environ.get("CI"):
            pytest.fail("llmock is missing; pip install 'llmock>=0.2.2,<0.3'")
        pytest.skip("llmock is not installed (pip install 'llmock>=0.2.2,<0.3')")


@contextmanager
def llmock(*options: str) -> Iterator[str]:
    """A running mock; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = "from llmock.cli import app; app()"
    arguments = ["serve", "-h", "127.0.0.1", "-p", str(port), "--log-level", "error", *options]
    process = subprocess.Popen([sys.executable, "-c", serving, *arguments], stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    ends_s = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, OSError):
            if process.poll() is not None or time.monotonic() > ends_s:
                raise
            time.sleep(0.1)


def told(url: str, page: str) -> Any:
    with urlopen(f"{url}/_llmock/{page}", timeout=30) as answer:
        return json.load(answer)


def configure(folder: Path, url: str, wire: str, stream: str) -> None:
    (folder / "bucketline.toml").write_text(
        f'default_provider = "peer"\n[providers.peer]\nwire = "{wire}"\nbase_url = "{url}{BASES[wire]}"\n'
        f'api_key_env = "PEER_KEY"\nstream = "{stream}"\nconcurrency = 40\n'
        "[retry]\nmax_attempts = 8\nbase_delay_s = 0.2\nmax_delay_s = 2.0\n"
    )
    lines = [
        {"custom_id": n, "method": "POST", "url": "/v1/chat/completions",
         "body": {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": f"question {n}"}]}}
        for n in range(LINES)
    ]  # fmt: skip
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["never", "always"])
@pytest.mark.parametrize("wire", BASES)
def test_five_hundred_lines_through_injected_faults(command: Command, wire: str, stream: str) -> None:
    with llmock(*FAULTS, *(BROKEN_STREAMS if stream == "always" else ())) as url:
        configure(command.folder, url, wire, stream)
        command.env["PEER_KEY"] = "sk-peer"
        command.run("run", "in.jsonl", "-o", "out", code=None)
        verdict, requests = told(url, "verdict"), told(url, "requests")
    results = results_in(command.folder / "out")
    results.check_against((command.folder / "in.jsonl").read_bytes())
    assert [row["error"] for row in results.errors] == []
    counts = results.manifest["counts"]
    assert (counts["completed"], counts["total"]) == (LINES, LINES)
    assert counts["retries"] > 0, "no fault was injected"
    served = requests["requests"] if isinstance(requests, dict) else requests
    assert counts["attempts"] == len(served)
    assert serious(verdict) == []


def serious(verdict: dict[str, Any]) -> list[Any]:
    """What the mock holds against its client as an error."""
    found = verdict.get("findings") or verdict.get("issues") or []
    return [one for one in found if one.get("severity", one.get("level")) == "error"]
