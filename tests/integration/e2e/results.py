"""The files of a finished batch, read back and held against its input."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bucketline.jsonl import records_of


@dataclass(frozen=True)
class Results:
    """What lies in a results folder."""

    folder: Path
    output: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    manifest: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Results:
        return cls(
            folder,
            [json.loads(record.raw) for record in records_of((folder / "output.jsonl").read_bytes())],
            [json.loads(record.raw) for record in records_of((folder / "errors.jsonl").read_bytes())],
            json.loads((folder / "manifest.json").read_bytes()),
        )

    def check_against(self, source: bytes) -> None:
        """Every line once, in input order, with its id and its type; counts and digests right."""
        expected = {record.line: expected_id(record.raw, record.line) for record in records_of(source)}
        found = {row["bucketline"]["line"]: row["custom_id"] for row in [*self.output, *self.errors]}
        assert len(found) == len(self.output) + len(self.errors)
        assert found.keys() == expected.keys()
        for line, custom_id in expected.items():
            assert found[line] == custom_id
            assert type(found[line]) is type(custom_id)
        for rows in (self.output, self.errors):
            lines = [row["bucketline"]["line"] for row in rows]
            assert lines == sorted(lines)
        assert all(row["error"] is None for row in self.output)
        assert all(row["error"]["code"] for row in self.errors)
        counts = self.manifest["counts"]
        assert counts["total"] == len(expected)
        assert (counts["completed"], counts["failed"] + counts["cancelled"]) == (len(self.output), len(self.errors))
        self.check_digests()

    def check_digests(self) -> None:
        for name in ("output.jsonl", "errors.jsonl"):
            raw = (self.folder / name).read_bytes()
            facts = self.manifest["files"][name]
            assert facts["sha256"] == hashlib.sha256(raw).hexdigest()
            assert facts["bytes"] == len(raw)
            assert facts["lines"] == raw.count(b"\n")

    def without_ids_and_times(self) -> list[dict[str, Any]]:
        """The answered lines, less what differs from run to run."""
        rows = []
        for row in self.output:
            block = {key: value for key, value in row["bucketline"].items() if key not in ("latency_s", "attempt_log")}
            body = {
                key: value
                for key, value in row["response"]["body"].items()
                if key not in ("id", "created", "created_at")
            }
            rows.append({"custom_id": row["custom_id"], "body": body, "bucketline": block})
        return rows


def expected_id(raw: bytes, line: int) -> Any:
    """The id that a line's results must carry: its own, its number where it has none, null where it is unreadable."""
    try:
        parsed = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(parsed, dict):
        return None
    if "custom_id" in parsed:
        return parsed["custom_id"]
    if "key" in parsed:
        return parsed["key"]
    return None if "body" in parsed or "params" in parsed else line
