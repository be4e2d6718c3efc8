"""The names of all objects in the store; nothing else spells one.

| object                              | written by, when                         | meaning                                     |
| ----------------------------------- | ---------------------------------------- | ------------------------------------------- |
| inbox/NAME.jsonl[.gz|.zst]          | the user                                 | a batch to be taken up                      |
| inbox/NAME.options.toml             | the user                                 | options of that batch                       |
| outbox/NAME/status.json             | inbox, every few seconds while running   | progress for those who see only the bucket  |
| outbox/NAME/{output,errors}.jsonl   | inbox, at the end                        | copies of the batch's results               |
| outbox/NAME/manifest.json           | inbox, last                              | the copy of the manifest: over              |
| outbox/NAME/rejected.json           | inbox, when the file is no batch         | why, with the first faults                  |
| files/ID                            | the HTTP door                            | an uploaded input                           |
| batches/ID/input.jsonl              | submit, first                            | the input, unpacked, never changed          |
| batches/ID/rejects.jsonl            | submit, before batch.json                | error lines of input that cannot be sent    |
| batches/ID/batch.json               | submit, last; its being there is the batch | source, options, shards                   |
| batches/ID/orders.json              | cancel, pause, resume                    | what Redis must be told again if it forgets |
| unfinished/ID                       | submit, before batch.json; finish removes it | a batch that Redis should know          |
| batches/ID/parts/SHARD-GEN-SEQ.part | a worker, when it seals                  | recorded lines of one shard, immutable      |
| batches/ID/output.jsonl             | merge                                    | answered lines in input order               |
| batches/ID/errors.jsonl             | merge                                    | the rest in input order                     |
| batches/ID/manifest.json            | finish, last; its being there means over | counts, digests, usage, cost                |
| batches/ID/manifest.md              | finish                                   | the same for people                         |
| manifests/DAY/ID.json               | finish, before the manifest              | a copy, so that many are listed at once     |
"""

from __future__ import annotations

__all__ = [
    "BATCHES",
    "INBOX",
    "MANIFESTS",
    "OUTBOX",
    "UNFINISHED",
    "batch_document",
    "batch_id_of",
    "batch_prefix",
    "day_of_manifest_copy",
    "errors_object",
    "file_object",
    "generation_of_part",
    "input_object",
    "manifest_copy",
    "manifest_object",
    "manifest_page",
    "orders_object",
    "outbox_object",
    "output_object",
    "part_object",
    "parts_prefix",
    "rejects_object",
    "shard_of_part",
    "shard_parts_prefix",
    "unfinished_id",
    "unfinished_mark",
]

INBOX = "inbox/"
OUTBOX = "outbox/"
BATCHES = "batches/"
MANIFESTS = "manifests/"
UNFINISHED = "unfinished/"


def batch_prefix(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/"


def batch_id_of(key: str) -> str | None:
    """The batch that an object under ``batches/`` belongs to."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "batches" else None


def batch_document(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/batch.json"


def input_object(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/input.jsonl"


def rejects_object(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/rejects.jsonl"


def parts_prefix(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/parts/"


def shard_parts_prefix(batch_id: str, shard: int) -> str:
    return f"{BATCHES}{batch_id}/parts/{shard:07d}-"


def part_object(batch_id: str, shard: int, generation: int, sequence: int) -> str:
    return f"{BATCHES}{batch_id}/parts/{shard:07d}-{generation:016d}-{sequence:04d}.part"


def shard_of_part(key: str) -> int:
    """The shard whose lines a part holds. Raises ValueError for a foreign name."""
    return int(key.rsplit("/", 1)[-1].split("-", 1)[0])


def generation_of_part(key: str) -> int:
    """The claim that wrote a part. Raises ValueError for a foreign name."""
    return int(key.rsplit("/", 1)[-1].split("-")[1])


def output_object(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/output.jsonl"


def errors_object(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/errors.jsonl"


def manifest_object(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/manifest.json"


def manifest_page(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/manifest.md"


def orders_object(batch_id: str) -> str:
    return f"{BATCHES}{batch_id}/orders.json"


def unfinished_mark(batch_id: str) -> str:
    return f"{UNFINISHED}{batch_id}"


def unfinished_id(key: str) -> str:
    """The batch that a mark under ``unfinished/`` names."""
    return key.removeprefix(UNFINISHED)


def manifest_copy(day: str, batch_id: str) -> str:
    """``day`` is the UTC day on which the batch was made, ``YYYY-MM-DD``."""
    return f"{MANIFESTS}{day}/{batch_id}.json"


def day_of_manifest_copy(key: str) -> str:
    return key.removeprefix(MANIFESTS).split("/", 1)[0]


def outbox_object(name: str, file: str) -> str:
    return f"{OUTBOX}{name}/{file}"


def file_object(file_id: str) -> str:
    return f"files/{file_id}"
