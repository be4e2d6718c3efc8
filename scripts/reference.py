"""The pages that are made of the code: ``docs/configuration.md``, ``docs/failures.md``, two tables of the README.

Comes in: the settings models, the presets, the failure table, the adapters, the measured figures. Goes out: Markdown, the
same text every time.
Run by ``make reference``; a test holds what is written against it, so no page can fall behind.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bucketline import settings as s
from bucketline.batch import BatchOptions
from bucketline.catalog import PRESETS
from bucketline.failure import TABLE, Billed, Effect, Wait
from scripts.provider_table import table
from scripts.side_by_side import side_by_side
from tests.samples import samples

ROOT = Path(__file__).resolve().parents[1]

#: heading → model; what a reader of the file meets, from the top down
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The top of the file", s.Settings),
    ("`[providers.NAME]`", s.ProviderSettings),
    ('`[providers.NAME.models."MODEL"]`', s.LimitSettings),
    ("`[models.NAME]`", s.ModelSettings),
    ("`routes` of a model", s.RouteSettings),
    ('`[prices."PROVIDER/MODEL"]`', s.PriceSettings),
    ("`tiers` of a price", s.PriceTier),
    ("`[retry]`", s.RetrySettings),
    ("`[worker]`", s.WorkerSettings),
    ("`[inbox]`", s.InboxSettings),
)  # fmt: skip


def configuration() -> str:
    """The page of the configuration."""
    lines = [
        "# Configuration",
        "",
        "Made from `bucketline/settings.py` by `make reference`; a test keeps it current.",
        "",
        "`bucketline.toml` is looked for in this order: `--config PATH`, the variable `BUCKETLINE_CONFIG`, the working",
        "folder. `BUCKETLINE_REDIS_URL` and `BUCKETLINE_STORE` beat the file. An unknown key is an error that names the",
        "nearest known one. Keys of providers never stand here: only the name of the variable, or the file, that holds one.",
    ]
    for heading, model in SECTIONS:
        lines += ["", f"## {heading}", "", *_about(model), *_table(model)]
    lines += ["", "## Options of a batch", "", _DOORS, "", *_table(BatchOptions)]
    lines += ["", "## Presets", "", "Known by name; a section of the same name changes what it says.", ""]
    lines += ["| name | wire | address | key variable | bare model names |", "| --- | --- | --- | --- | --- |"]
    for name, preset in PRESETS.items():
        families = " ".join(f"`{family}…`" for family in preset.families)
        key = f"`{preset.api_key_env}`" if preset.api_key_env else "none, or the cloud's credentials"
        lines.append(f"| `{name}` | {preset.wire} | {preset.base_url or 'yours'} | {key} | {families} |")
    return "\n".join(lines) + "\n"


_DOORS = (
    "The same at every door: arguments of `Producer.submit`, options of `bucketline submit` (dashes for underscores;\n"
    "`--max-cost` for `max_usd`, `--window 24h` for `window_s`), `[profiles.NAME]` for `inbox/NAME/`, keys of\n"
    "`NAME.options.toml`, and object metadata `bucketline-max-cost` and so on."
)


def failures() -> str:
    """The page of the failure table."""
    lines = [
        "# What each failure means",
        "",
        "Made from `bucketline/failure.py` by `make reference`; a test keeps it current.",
        "",
        "A provider's reply becomes one kind by its status, code and type, never by words alone; the row says the rest.",
        "*again*: on the same route, after the wait that is named (†: it costs no attempt). *next*: the next route of",
        "the plan may be tried. *route*: what it means for all requests on that route. *billed*: whether the call may",
        "have been charged. *code* is the `error.code` of a line that ends so.",
        "",
        "| kind | code | again | next | route | billed | in words |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, row in TABLE.items():
        again = f"{_WAITS[row.wait]}{'' if row.costs_attempt else ' †'}" if row.retry else "no"
        route = _EFFECTS[row.effect] or ("its health suffers" if row.hurts_health else "")
        cells = [f"`{kind}`", f"`{row.code}`", again, "yes" if row.fall_back else "no", route, _BILLED[row.billed]]
        lines.append("| " + " | ".join([*cells, row.sentence]) + " |")
    return "\n".join(lines) + "\n"


_WAITS = {
    Wait.TOLD: "after the told wait", Wait.BACKOFF: "after a backoff", Wait.DAY: "after the daily reset",
    Wait.OPERATOR: "when the account is well", Wait.NONE: "at once",
}  # fmt: skip
_EFFECTS = {Effect.NONE: "", Effect.PAUSE: "paused", Effect.CLOSE: "closed"}
_BILLED = {Billed.NO: "no", Billed.MAYBE: "perhaps", Billed.YES: "yes"}


def _about(model: type[BaseModel]) -> list[str]:
    text = (model.__doc__ or "").split("\n\n")[0].strip().replace("``", "`")
    return [text, ""] if text else []


def _table(model: type[BaseModel]) -> list[str]:
    rows = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    inherited = s.LimitSettings.model_fields if model is s.ProviderSettings else {}
    for name, field in model.model_fields.items():
        if name not in inherited:
            rows.append(f"| `{name}` | {_takes(field)} | {_default(field)} | {_meaning(field)} |")
    if inherited:
        names = ", ".join(f"`{name}`" for name in inherited)
        rows += ["", f"And the limits of the account, as below: {names}."]
    return rows


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ({}, []) or isinstance(value, BaseModel):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _takes(field: FieldInfo) -> str:
    text = " or ".join(dict.fromkeys(_kinds(field.annotation)))
    bounds = [_bound(rule) for rule in field.metadata]
    return " ".join([text, *filter(None, bounds)])


def _bound(rule: Any) -> str:
    for name, words in (("ge", "≥"), ("gt", ">"), ("le", "≤")):
        value = getattr(rule, name, None)
        if value is not None:
            return f"{words} {value:g}"
    return ""


def _kinds(annotation: Any) -> Iterator[str]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for inner in get_args(annotation):
            if inner is not type(None):
                yield from _kinds(inner)
    elif origin is Literal:
        yield from (f"`{value}`" for value in get_args(annotation))
    elif hasattr(annotation, "__metadata__"):
        yield from _kinds(get_args(annotation)[0])
    elif origin in (dict, list):
        yield "table" if origin is dict else "list"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "table"
    else:
        yield {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}[annotation.__name__]


def readme() -> str:
    """The README with its tables made anew: the providers, and the figures beside other clients."""
    results = ROOT / "bench" / "results.md"
    figures = side_by_side(results.read_text(encoding="utf-8") if results.exists() else None)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, part in (("figures", figures), ("providers", table(list(samples("response"))))):
        begin, end = f"<!-- {name}: written by `make reference` -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{part}\n\n{end}{rest.partition(end)[2]}"
    return text


#: page → what makes it
PAGES = {"docs/configuration.md": configuration, "docs/failures.md": failures, "README.md": readme}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (ROOT / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
