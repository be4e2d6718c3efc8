"""What the examples share: a list of requests becomes a file, ``bucketline run`` answers it, the answers are read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def line(custom_id: str, body: dict[str, Any], url: str = "/v1/chat/completions") -> dict[str, Any]:
    """One request in OpenAI's batch form; any provider may answer it."""
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def answered(requests: Iterable[dict[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """Run the requests and return the answered lines by their id; what failed is told on standard error.

    Run again with the same folder it goes on where it was interrupted, and pays for no answer twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "requests.jsonl"
    source.write_text("".join(json.dumps(request) + "\n" for request in requests), encoding="utf-8")
    results = folder / "results"
    command = [sys.executable, "-m", "worker.cli", "run", str(source), "-o", str(results)]
    done = subprocess.run([*command, "--resume"] if results.exists() else command, check=False)
    if done.returncode not in (0, 1):  # 1: finished, some lines failed
        sys.exit(done.returncode)
    for row in _rows(results / "errors.jsonl"):
        print(f"{row['custom_id']}: {row['error']['message']}", file=sys.stderr)
    return {row["custom_id"]: row for row in _rows(results / "output.jsonl")}


def text_of(row: dict[str, Any]) -> str:
    """The text of an answered chat line."""
    return str(row["response"]["body"]["choices"][0]["message"]["content"])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(record) for record in path.read_bytes().split(b"\n") if record]
