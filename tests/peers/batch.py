"""What every peer is put through: five hundred lines over one wire, each of which must end once and well.

In: a running mock's address and the wire. Out: nothing, or a failed test. The tests beside it start the mocks, tell them
what to break, and look at what they noted.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.integration.e2e.conftest import Command
from tests.integration.e2e.results import Results

__all__ = ["LINES", "asked", "run_through", "serving"]

LINES = 500
BODY = {"model": "m", "max_tokens": 50}


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """A running mock; its address. ``{port}`` in the command stands for a free one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([part.format(port=port) for part in command], stdout=subprocess.DEVNULL)
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


def asked(url: str) -> Any:
    """A page of a mock's own."""
    with contextlib.closing(urlopen(url, timeout=30)) as answer:
        return json.load(answer)


def _configure(folder: Path, provider: Mapping[str, Any]) -> None:
    members = "".join(f"{name} = {json.dumps(value)}\n" for name, value in provider.items())
    (folder / "bucketline.toml").write_text(
        f'default_provider = "peer"\n[providers.peer]\n{members}concurrency = 40\n'
        "[retry]\nmax_attempts = 8\nbase_delay_s = 0.2\nmax_delay_s = 2.0\n"
    )
    lines = [
        {"custom_id": n, "method": "POST", "url": "/v1/chat/completions",
         "body": {**BODY, "messages": [{"role": "user", "content": f"question {n}"}]}}
        for n in range(LINES)
    ]  # fmt: skip
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def run_through(command: Command, provider: Mapping[str, Any]) -> Results:
    """Run the batch against a provider; its results, once they are known to be whole and good."""
    _configure(command.folder, provider)
    command.run("run", "in.jsonl", "-o", "out")
    results = Results.read(command.folder / "out")
    results.check_against((command.folder / "in.jsonl").read_bytes())
    assert [row["error"] for row in results.errors] == []
    counts = results.manifest["counts"]
    assert (counts["completed"], counts["total"]) == (LINES, LINES)
    assert counts["retries"] > 0, "no fault was injected"
    return results
