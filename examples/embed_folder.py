"""Embed every text file of a folder and a question with them; print the files from the nearest to the farthest."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from batch import answered, line

ASKED = "?"  #: no file's name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--ask", required=True)
    parser.add_argument("--model", default="openai/text-embedding-3-small")
    parser.add_argument("--folder", type=Path, default=Path("embed-run"))
    options = parser.parse_args()
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(options.texts.glob("*.txt"))}
    texts[ASKED] = options.ask
    rows = answered(
        (line(name, {"model": options.model, "input": text}, "/v1/embeddings") for name, text in texts.items()),
        options.folder,
    )
    vectors = {name: row["response"]["body"]["data"][0]["embedding"] for name, row in rows.items()}
    (options.folder / "vectors.json").write_text(json.dumps(vectors))
    asked = vectors.pop(ASKED)
    for name in sorted(vectors, key=lambda name: -likeness(asked, vectors[name])):
        print(f"{likeness(asked, vectors[name]):.3f}  {name}")


def likeness(one: list[float], other: list[float]) -> float:
    """The cosine of the angle between two vectors."""
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (math.hypot(*one) * math.hypot(*other))


if __name__ == "__main__":
    main()
