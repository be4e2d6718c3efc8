"""A case as it lies on disk.

Comes in: folders named on the command line, or the default one. Goes out: ``Case`` records, variants included as
cases of their own. Files are read as they are; nothing is re-encoded. Raises NoCases with one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["Case", "NoCases", "find_cases", "load_case", "variants_of"]

_FORMAT = 1
_VARIANT_LINE_S = 0.02  #: what each generated line of a variant adds to the case's limit


class NoCases(Exception):
    """There is nothing to play; the message says where we looked and what to do."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case, ready to play. ``generated`` stands in for the input's bytes in a variant."""

    id: str
    slug: str
    title: str
    needs: frozenset[str]
    slow: bool
    folder: Path
    config: dict[str, Any]
    replies: dict[str, Any]
    s3: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    asserts: tuple[dict[str, Any], ...]
    max_s: float
    variants: tuple[dict[str, Any], ...] = ()
    generated: dict[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.id}-{self.slug}"

    def data(self, file: str) -> bytes:
        """The exact bytes of one of the case's files."""
        return self.generated[file] if file in self.generated else (self.folder / file).read_bytes()


def find_cases(paths: Iterable[Path]) -> list[Case]:
    """The cases in ``paths``: each a case, or a folder of cases. Sorted by id, slow ones first."""
    cases = {case.folder.resolve(): case for path in paths for case in _cases_in(path)}
    return sorted(cases.values(), key=lambda case: (not case.slow, case.name))


def _cases_in(path: Path) -> Iterator[Case]:
    if (path / "scenario.json").is_file():
        yield load_case(path)
        return
    folders = sorted(found.parent for found in path.glob("*/scenario.json"))
    if not folders:
        raise NoCases(
            f"There are no cases in {path}; name a case's folder, or a folder of cases, on the command line or in "
            "BUCKETLINE_CASES."
        )
    yield from map(load_case, folders)


def load_case(folder: Path) -> Case:
    """Read one folder. Raises NoCases when a file is missing, is not JSON, or is of a format we do not know."""
    about = _read(folder / "case.json")
    scenario = _read(folder / "scenario.json")
    expected = _read(folder / "expected.json")
    for name, document in (("scenario.json", scenario), ("expected.json", expected)):
        if document.get("format", _FORMAT) != _FORMAT:
            raise NoCases(f"{folder / name} is of format {document['format']}; this runner plays format {_FORMAT}.")
    try:
        return Case(
            id=about["id"],
            slug=about["slug"],
            title=about.get("title", about["slug"]),
            needs=frozenset(about.get("needs", ())),
            slow=bool(about.get("slow", False)),
            folder=folder,
            config=scenario["config"],
            replies=scenario.get("replies", {}),
            s3=scenario.get("s3", {}),
            steps=tuple(scenario["steps"]),
            asserts=tuple(expected["asserts"]),
            max_s=float(scenario["max_s"]),
            variants=tuple(scenario.get("variants", ())),
        )
    except KeyError as error:
        raise NoCases(f"The case {folder} lacks {error}.") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NoCases(f"The case {path.parent} has no {path.name}.") from None
    except ValueError as error:
        raise NoCases(f"{path} is not JSON: {error}.") from None
    return document


def variants_of(case: Case) -> Iterator[Case]:
    """The case again with generated lines in place of its input; only the variant's own asserts hold there."""
    for variant in case.variants:
        plan = variant["generate"]
        model = next(iter(case.config["models"]))
        lines = b"".join(_line(plan, model, n) for n in range(1, plan["count"] + 1))
        answer = {"ok": {"delay_s": plan.get("reply_delay_s", 0)}}
        replies = {**case.replies, model: {**case.replies.get(model, {}), "else": [answer]}}
        yield replace(
            case,
            slug=f"{case.slug}+{variant['name']}",
            slow=True,
            replies=replies,
            asserts=tuple(variant["asserts"]),
            max_s=case.max_s + plan["count"] * _VARIANT_LINE_S,
            variants=(),
            generated={"input.jsonl": lines},
        )


def _line(plan: dict[str, Any], model: str, n: int) -> bytes:
    prompt = f"tag:{plan['tag'].format(n=n)} say something short"
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    record = {"custom_id": plan["id"].format(n=n), "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(record).encode() + b"\n"
