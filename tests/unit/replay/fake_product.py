"""A product that does what the contract says, in a hundred lines, or one thing wrong: ``--wrong dropped|doubled|…``.

It speaks the command's words (``work --inbox``, ``status [ID] --json``, ``cancel ID``) over the same configuration
file and the same store, so that the runner's adapter is tested with it and the asserts are shown to be able to fail.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

CONFIG = tomllib.loads(Path("bucketline.toml").read_text())
BUCKET = CONFIG["store"].removeprefix("s3://")
STORE = os.environ["AWS_ENDPOINT_URL_S3"]


def fetch(address, method="GET", body=None, headers=None):
    parts = urlsplit(address)
    line = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        line.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        reply = line.getresponse()
        return reply.status, reply.read()
    finally:
        line.close()


SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request"}  # nobody checks it


def get(key):
    status, data = fetch(f"{STORE}/{BUCKET}/{quote(key)}", headers=SIGNED)
    return data if status == 200 else None


def put(key, data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    fetch(f"{STORE}/{BUCKET}/{quote(key)}", "PUT", data, SIGNED)


def listed(prefix):
    _, data = fetch(f"{STORE}/{BUCKET}?list-type=2&prefix={quote(prefix)}", headers=SIGNED)
    tree = ET.fromstring(data)
    space = tree.tag.partition("}")[0] + "}"
    return {each.find(f"{space}Key").text: each.find(f"{space}ETag").text for each in tree.iter(f"{space}Contents")}


def stamp(unix_s):
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")


def ask(line, number, wrong):
    """One line's row, its answer and its cost."""
    request = json.loads(line)
    route = CONFIG["models"][request["body"]["model"]]["routes"][0]
    provider = CONFIG["providers"][route["provider"]]
    headers = {"Authorization": f"Bearer {os.environ[provider['api_key_env']]}"}
    body = json.dumps(request["body"]).encode()
    for attempt in range(1, CONFIG["retry"]["max_attempts"] + 1):
        status, answer = fetch(f"{provider['base_url']}/chat/completions", "POST", body, headers)
        if wrong == "called_twice":
            fetch(f"{provider['base_url']}/chat/completions", "POST", body, headers)
        ours = {"line": number, "provider": route["provider"], "attempts": attempt}
        if status < 429:
            break
        time.sleep(CONFIG["retry"]["base_delay_s"])
    row = {"custom_id": request["custom_id"], "response": {"status_code": status, "body": json.loads(answer)}}
    if status != 200:
        return {**row, "error": {"code": "provider_4xx", "message": "refused"}, "bucketline": ours}
    usage = row["response"]["body"]["usage"]
    price = CONFIG["prices"][f"{route['provider']}/{route['model']}"]
    cost = usage["prompt_tokens"] * Decimal(price["input"]) + usage["completion_tokens"] * Decimal(price["output"])
    ours |= {"usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}}
    return {**row, "error": None, "bucketline": {**ours, "cost_usd": f"{cost / 1_000_000:f}"}}


def take_up(key, number, wrong):
    batch_id, created = f"batch_{number}", time.time()
    put(f"batches/{batch_id}/batch.json", {"source": key, "created_s": created})
    lines = get(key).removesuffix(b"\n").split(b"\n")
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda pair: ask(pair[1], pair[0], wrong), enumerate(lines, 1)))
    cost = sum(Decimal(row["bucketline"].get("cost_usd", "0")) for row in rows)
    counts = {
        "total": len(rows),
        "completed": sum(row["error"] is None for row in rows),
        "failed": sum(row["error"] is not None for row in rows),
        "cancelled": 0,
        "retries": sum(row["bucketline"]["attempts"] - 1 for row in rows),
    }
    if wrong == "dropped":
        del rows[2]
    if wrong == "doubled":
        rows.insert(2, rows[2])
    if wrong == "crossed":
        rows[1]["response"], rows[4]["response"] = rows[4]["response"], rows[1]["response"]
    if wrong == "billed_twice":
        cost *= 2
    for name, failed in (("output", False), ("errors", True)):
        part = [row for row in rows if (row["error"] is not None) is failed]
        put(f"batches/{batch_id}/{name}.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in part))
    manifest = {"status": "completed", "counts": counts, "cost": {"usd": f"{cost:f}", "complete": True, "unpriced": []}}
    put(f"batches/{batch_id}/manifest.json", manifest)


def work(wrong):
    seen = {}
    while True:
        for key, etag in listed("inbox/").items():
            if key.endswith(".jsonl") and seen.get(key) != etag:
                seen[key] = etag
                take_up(key, len(listed("batches/")) + 1, wrong)
        time.sleep(0.05)


def status(chosen):
    batches = []
    for key in listed("batches/"):
        batch_id = key.split("/")[1]
        if not key.endswith("/batch.json") or chosen not in (None, batch_id):
            continue
        document, manifest = json.loads(get(key)), json.loads(get(f"batches/{batch_id}/manifest.json") or b"{}")
        counts = manifest.get("counts", {"total": 0, "completed": 0, "failed": 0})
        batches.append(
            {
                "id": batch_id,
                "source": document["source"],
                "status": manifest.get("status", "in_progress"),
                "counts": counts,
                "percent": 100.0 if manifest else 0.0,
                "created_at": stamp(document["created_s"]),
            }
        )
    print(json.dumps({"batches": batches}))  # noqa: T201  # it is a command
    over = [batch["counts"]["failed"] for batch in batches if batch["status"] == "completed"]
    return 3 if len(over) < len(batches) else int(any(over))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wrong")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("work").add_argument("--inbox", action="store_true", required=True)
    looking = verbs.add_parser("status")
    looking.add_argument("id", nargs="?")
    looking.add_argument("--json", action="store_true", required=True)
    options = parser.parse_args()
    return work(options.wrong) if options.verb == "work" else status(options.id)


if __name__ == "__main__":
    sys.exit(main())
