"""The product's names, all of them, and only here: its configuration, its inbox, its command, its files.

Comes in: a case's neutral words. Goes out: ``bucketline.toml``, commands to run, and what the product shows in the
words of the cases: batches, rows, manifests, files. Looks only at what a user can see: the command's output and the
store's objects. Starts no process and waits for nothing; ``steps`` does both.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.replay.case import Case
from tests.replay.items import Batch, Shown, answer_text, decimal_sum, file_item, line_tag, strict_json
from tests.replay.services import plain_env
from tests.replay.toml import toml

__all__ = ["NEEDS_SERVED", "Bucketline"]

#: what a case may need beyond plain running; a case that needs more is not applicable
# fmt: off
NEEDS_SERVED = frozenset({
    "custom_prices", "price_tiers", "fallback", "anthropic_api", "responses_endpoint", "embeddings_endpoint",
    "cancel", "cli_status", "two_workers", "s3_proxy", "redis_control", "mock_enforce",
})
# fmt: on
_TAKEN_UP = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_STATES = {"validating": "queued", "in_progress": "running", "finalizing": "running", "cancelling": "running",
           "failed": "failed", "expired": "failed", "completed": "completed", "cancelled": "cancelled"}  # fmt: skip


class Bucketline:
    """The product in one case. ``s3`` is a boto3 client of the store itself, behind any bad weather."""

    def __init__(self, case: Case, folder: Path, s3: Any, bucket: str, command: Sequence[str] | None = None) -> None:
        self._case = case
        self._folder = folder
        self._s3 = s3
        self._bucket = bucket
        self._command = list(command or [str(Path(sys.executable).with_name("bucketline"))])
        self._env: dict[str, str] = {}

    def weather(self) -> dict[str, Any]:
        """The case's ``s3`` section with the product's object names in its globs."""
        faults = [
            {name: _product_key(value) if name in ("key", "except_key") else value for name, value in fault.items()}
            for fault in self._case.s3.get("faults", ())
        ]
        return {**self._case.s3, "faults": faults} if self._case.s3 else {}

    def configure(self, providers: Mapping[str, str], redis_url: str, s3_address: str) -> None:
        """Write ``bucketline.toml`` and fix the environment; ``providers`` are the scripted ones' addresses."""
        config = self._case.config
        document: dict[str, Any] = {"redis_url": redis_url, "store": f"s3://{self._bucket}"}
        document["providers"] = {
            name: _provider(name, given, providers[name]) for name, given in config["providers"].items()
        }
        models = config["models"]
        document["models"] = {
            name: {"routes": [_route(each, models[each]) for each in (name, *model.get("fallbacks", ()))]}
            for name, model in models.items()
        }
        document["prices"] = {
            f"{model['provider']}/{name}": model["prices_per_mtok"]
            for name, model in models.items()
            if "prices_per_mtok" in model
        }
        # Nobody is there to top up an account while a case runs, so exhausted ones fail their lines.
        document["retry"] = {**config.get("retry", {}), "on_quota": "fail"}
        if "request_timeout_s" in config:
            document["retry"]["request_timeout_s"] = config["request_timeout_s"]
        document["worker"] = {k: v for k, v in config.get("worker", {}).items() if k != "processes"}
        document["inbox"] = {"poll_s": 0.5, "settle_s": 1.0}
        (self._folder / "bucketline.toml").write_text(toml(document), encoding="utf-8")
        self._env = plain_env() | {
            "AWS_ENDPOINT_URL_S3": s3_address,
            "AWS_ACCESS_KEY_ID": "replay",
            "AWS_SECRET_ACCESS_KEY": "replay-secret",
            **dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "us-east-1"),
            "AWS_EC2_METADATA_DISABLED": "true",
            **dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull),
            **{_key_env(name): given["key"] for name, given in config["providers"].items()},
        }

    @property
    def env(self) -> dict[str, str]:
        return self._env

    def work(self) -> list[str]:
        """The command of one worker."""
        processes = int(self._case.config.get("worker", {}).get("processes", 1))
        return [*self._command, "work", "--inbox", *(["--processes", str(processes)] if processes > 1 else [])]

    def status(self, batch_id: str | None = None) -> list[str]:
        return [*self._command, "status", *([batch_id] if batch_id else []), "--json"]

    def cancel(self, batch_id: str) -> list[str]:
        return [*self._command, "cancel", batch_id]

    @staticmethod
    def ignores(key: str) -> bool:
        """Whether the product passes over an inbox object by design."""
        steps = key.removeprefix("in/").split("/")
        aside = any(step.startswith((".", "_", "~")) for step in steps)
        return aside or not key.startswith("in/") or not key.lower().endswith(_TAKEN_UP)

    async def put(self, key: str, data: bytes) -> None:
        """Put an object where the product looks for it."""
        await asyncio.to_thread(self._s3.put_object, Bucket=self._bucket, Key=_product_key(key), Body=data)

    @staticmethod
    def read_status(out: str) -> list[Batch] | None:
        """The batches of ``status --json``, oldest first; None when that is not its document."""
        try:
            entries = json.loads(out)["batches"]
            return sorted((_batch(entry) for entry in entries), key=lambda batch: batch.created_s)
        except (ValueError, KeyError, TypeError):
            return None

    async def rejected(self) -> list[Batch]:
        """Inbox files that became no batch."""
        found = []
        for key, modified in (await asyncio.to_thread(self._list, "outbox/")).items():
            if not key.endswith("/rejected.json"):
                continue
            said = await self._get(key) or b"{}"
            source = json.loads(said).get("source", "")
            found.append(
                Batch("", _neutral_key(source), "rejected", modified, {}, None, said.decode("utf-8", "replace"))
            )
        return found

    async def known_batch(self, key: str) -> str | None:
        """The id of the latest batch of an inbox key, from the store alone."""
        latest: tuple[float, str] | None = None
        for name in await asyncio.to_thread(self._list, "batches/"):
            if name.endswith("/batch.json"):
                document = json.loads(await self._get(name) or b"{}")
                if _neutral_key(document.get("source", "")) == key:
                    latest = max(latest or (0.0, ""), (float(document.get("created_s", 0)), name.split("/")[1]))
        return latest[1] if latest else None

    async def over(self) -> frozenset[str]:
        """The objects that say that a batch, or a file that became none, is over."""
        found = {**await asyncio.to_thread(self._list, "batches/"), **await asyncio.to_thread(self._list, "outbox/")}
        return frozenset(
            key
            for key in found
            if key.endswith("/rejected.json") or (key.startswith("batches/") and key.endswith("/manifest.json"))
        )

    async def has_results(self, batch_id: str) -> bool:
        """Whether a batch's manifest and results can be read."""
        names = await asyncio.to_thread(self._list, f"batches/{batch_id}/")
        results = any(name.endswith(("/output.jsonl", "/errors.jsonl")) for name in names)
        return results and f"batches/{batch_id}/manifest.json" in names

    async def collect(self, batches: Iterable[Batch], inputs: Mapping[str, Sequence[bytes]]) -> Shown:
        """Everything the product shows of ``batches``; ``inputs`` holds the bytes put under each key."""
        shown = Shown()
        for batch in batches:
            report = [batch.said]
            for name, role in (("output.jsonl", "results"), ("errors.jsonl", "errors"), ("manifest.json", "manifest")):
                key = f"batches/{batch.id}/{name}"
                data = await self._get(key) if batch.id else None
                if data is None:
                    continue
                shown.files.append(file_item(key, role, data))
                if role == "manifest":
                    shown.manifest.append(_manifest(batch.key, strict_json(data) or {}))
                    continue
                rows = [_row(batch, record, inputs.get(batch.key, ())) for record in _records(data)]
                shown.rows.extend(rows)
                report += [f"line {row.get('line')}: {row['error_message']}" for row in rows if "error_message" in row]
            page = await self._get(f"batches/{batch.id}/manifest.md") if batch.id else None
            report.append((page or b"").decode("utf-8", "replace"))
            shown.batches.append({"key": batch.key, "state": batch.state, "report": "\n".join(report)})
        return shown

    def _list(self, prefix: str) -> dict[str, float]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return {each["Key"]: each["LastModified"].timestamp() for page in pages for each in page.get("Contents", ())}

    async def _get(self, key: str) -> bytes | None:
        try:
            answer = await asyncio.to_thread(self._s3.get_object, Bucket=self._bucket, Key=key)
        except self._s3.exceptions.NoSuchKey:
            return None
        return bytes(await asyncio.to_thread(answer["Body"].read))


def _product_key(key: str) -> str:
    return f"inbox/{key.removeprefix('in/')}" if key.startswith("in/") else key


def _neutral_key(source: str) -> str:
    inside = source.partition("inbox/")
    return f"in/{inside[2]}" if inside[1] else source


def _key_env(provider: str) -> str:
    return f"REPLAY_KEY_{provider.upper().replace('-', '_')}"


def _provider(name: str, given: Mapping[str, Any], address: str) -> dict[str, Any]:
    wire = given["api"]
    base_url = address if wire == "anthropic" else f"{address}/v1"
    return {"wire": wire, "base_url": base_url, "api_key_env": _key_env(name), **given.get("limits", {})}


def _route(name: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """One route; of the hints, the parameters to rename or leave out are told, the rest the product must know."""
    hints = model.get("hints", {})
    told = {"rename": hints.get("rename"), "unset": hints.get("drop")}
    return {"provider": model["provider"], "model": name, **{key: value for key, value in told.items() if value}}


def _state(status: str, counts: Mapping[str, int]) -> str:
    state = _STATES.get(status, status)
    return "completed_with_errors" if state == "completed" and counts.get("failed") else state


def _batch(entry: Mapping[str, Any]) -> Batch:
    counts = entry["counts"]
    state = _state(entry["status"], counts)
    created_s = datetime.fromisoformat(entry["created_at"]).timestamp()
    figures = {"total": counts["total"], "ok": counts["completed"], "failed": counts["failed"]}
    key, said = _neutral_key(entry["source"]), json.dumps(entry, ensure_ascii=False)
    return Batch(entry["id"], key, state, created_s, figures, entry.get("percent"), said)


def _manifest(key: str, document: Mapping[str, Any]) -> dict[str, Any]:
    counts, cost = document.get("counts", {}), document.get("cost", {})
    routes = cost.get("by_route", ())
    models = {route["model"] for route in routes}
    by_model = {m: decimal_sum(route.get("usd") for route in routes if route["model"] == m) for m in models}
    item = {
        **{name: counts.get(name) for name in ("total", "failed", "cancelled", "retries")},
        "key": key,
        "state": _state(document.get("status", ""), counts),
        "ok": counts.get("completed"),
        "usage": _usage(document.get("usage")),
        "cost_usd": cost.get("usd"),
        "cost_complete": cost.get("complete"),
        "cost_by_model": by_model,
        "unpriced_models": [name for full in cost.get("unpriced", ()) for name in {full, full.split("/", 1)[-1]}],
    }
    return {name: value for name, value in item.items() if value is not None}


def _records(data: bytes) -> list[dict[str, Any]]:
    parsed = (strict_json(line, lenient=True) for line in data.split(b"\n") if line.strip())
    return [record for record in parsed if isinstance(record, dict)]


def _row(batch: Batch, record: Mapping[str, Any], lines: Sequence[bytes]) -> dict[str, Any]:
    """One line of ``output.jsonl`` or ``errors.jsonl``; ``lines`` are the input's."""
    ours = record.get("bucketline") or {}
    error = record.get("error")
    raw = (record.get("response") or {}).get("body")
    line = ours.get("line")
    item = {
        "batch": batch.id,
        "batch_key": batch.key,
        "custom_id": record.get("custom_id"),
        "line": line,
        "ok": error is None,
        "text": answer_text(raw),
        "finish_reason": ours.get("finish_reason"),
        "raw": raw,
        "raw_json_ok": isinstance(raw, dict | list),
        "model_requested": ours.get("requested_model"),
        "model_served": ours.get("served_model"),
        "provider": ours.get("provider"),
        "usage": _usage(ours.get("usage")),
        "cost_usd": ours.get("cost_usd"),
        "attempts": ours.get("attempts"),
        "error_class": (error or {}).get("code"),
        "error_message": (error or {}).get("message"),
        "own_tag": line_tag(lines, line),
    }
    return {name: value for name, value in item.items() if value is not None}


def _usage(block: Mapping[str, int] | None) -> dict[str, int] | None:
    if block is None:
        return None
    return {
        "input": block.get("input_tokens", 0),
        "cached_read": block.get("cached_input_tokens", 0),
        "cache_write": block.get("cache_write_tokens", 0),
        "output": block.get("output_tokens", 0),
    }
