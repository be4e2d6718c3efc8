"""Take fields out of letters: each answer is held to a JSON schema, and the fields of all become a CSV.

An answer that breaks its schema is asked for again by bucketline itself, so no row here needs a check.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from batch import answered, line, text_of

FIELDS = {
    "order": {"type": ["string", "null"], "description": "the order's number"},
    "wish": {"type": "string", "enum": ["refund", "replacement", "information", "none"]},
    "summary": {"type": "string", "description": "one sentence"},
}
SCHEMA = {"type": "object", "properties": FIELDS, "required": list(FIELDS), "additionalProperties": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("letters", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="openai/gpt-5-mini")
    parser.add_argument("--folder", type=Path, default=Path("extract-run"))
    options = parser.parse_args()
    letters = [json.loads(record) for record in options.letters.read_text(encoding="utf-8").splitlines()]
    wanted = {"type": "json_schema", "json_schema": {"name": "letter", "strict": True, "schema": SCHEMA}}
    rows = answered(
        (
            line(letter["id"], {"model": options.model, "response_format": wanted, "messages": [
                {"role": "system", "content": "What does the customer want?"},
                {"role": "user", "content": letter["text"]}]})
            for letter in letters
        ),
        options.folder,
    )  # fmt: skip
    with options.output.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["id", *FIELDS])
        table.writeheader()
        table.writerows({"id": name, **json.loads(text_of(row))} for name, row in rows.items())
    print(f"{len(rows)} of {len(letters)} letters in {options.output}")


if __name__ == "__main__":
    main()
