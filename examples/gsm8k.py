"""Ask several models the same school problems; print how many each got right and what it cost.

The input is GSM8K's own form, ``{"question", "answer"}`` a line, the answer's last number being the result.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

from batch import answered, line, text_of

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
PROMPT = "Solve this. End with a line that holds the number alone.\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--folder", type=Path, default=Path("gsm8k-run"))
    options = parser.parse_args()
    problems = [json.loads(record) for record in options.problems.read_text(encoding="utf-8").splitlines()]
    rows = answered(
        (
            line(f"{model}#{number}", {"model": model, "max_tokens": 2000, "messages": [
                {"role": "user", "content": PROMPT + problem["question"]}]})
            for model in options.models
            for number, problem in enumerate(problems)
        ),
        options.folder,
    )  # fmt: skip
    right: Counter[str] = Counter()
    cost = dict.fromkeys(options.models, Decimal(0))
    for custom_id, row in rows.items():
        model, _, number = custom_id.rpartition("#")
        right[model] += last_number(text_of(row)) == last_number(problems[int(number)]["answer"])
        cost[model] += Decimal(row["bucketline"]["cost_usd"] or 0)
    for model in options.models:
        count = sum(custom_id.rpartition("#")[0] == model for custom_id in rows)
        print(f"{model}: {right[model]} right of {count} answered, {cost[model]} USD")


def last_number(text: str) -> Decimal | None:
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


if __name__ == "__main__":
    main()
