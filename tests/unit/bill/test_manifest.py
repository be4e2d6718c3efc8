"""The manifest: its published schema, its sums, and what it says when it cannot know."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from bucketline.batch import BatchDocument, BatchOptions, State
from bucketline.bill import build_manifest
from bucketline.failure import Billed, Code
from bucketline.manifest import BadManifest, FileFacts, Manifest, schema_bytes
from bucketline.manifest_page import incomplete_reasons, manifest_text
from bucketline.outcome import Attempt, Cost, Outcome, encode_outcome
from bucketline.splice import loads
from bucketline.tally import Tally
from bucketline.usage import Usage
from tests.unit.bill.prices_for_tests import NOW_S, World

ROUTES = [{"provider": "alpha", "model": "small"}, {"provider": "beta", "model": "large"}]
WORLD = World(
    {"alpha/small": {"input": "1.00", "output": "3.00"}, "beta/large": {"input": "2.00", "output": "6.00"}},
    models={"small": {"routes": ROUTES}},
)
DOCUMENT = BatchDocument(
    id="batch_1",
    source="inbox/x.jsonl",
    created_s=NOW_S,
    options=BatchOptions(max_usd="5.00", metadata={"team": "search"}),
    lines=4,
    rejected=0,
    last_line=4,
    input_bytes=400,
    input_sha256="a" * 64,
    shards=[(1, 0, 400, 4)],
    config_digest="c0ffee",
)
FILES = {"output.jsonl": FileFacts(lines=3, bytes=300, sha256="b" * 64)}


def _call(
    route: str, kind: str = "ok", usage: Usage | None = None, cost: Cost | None = None, billed: str = "yes"
) -> Attempt:
    there = WORLD.route(route)
    if cost is None:
        cost = WORLD.book.cost(there, served_model=None, usage=usage, when_s=NOW_S)
    return Attempt(there.provider.name, there.model, kind, 200, NOW_S, 0.5, usage, cost, Billed(billed))


def _line(number: int, *tried: Attempt, code: Code | None = None) -> Outcome:
    return Outcome(number, f"r-{number}", "small", code, None, tried, 200, None, b"{}", "stop", None, tried[-1].usage)


def _lines() -> list[Outcome]:
    return [
        _line(1, _call("alpha/small", usage=Usage(1000, output_tokens=100))),
        _line(
            2, _call("alpha/small", "server_error", cost=Cost(), billed="no"), _call("beta/large", usage=Usage(2000))
        ),
        _line(3, _call("alpha/small", "refusal", Usage(100, output_tokens=1)), code=Code.CONTENT_FILTER),
        _line(4, _call("alpha/small", usage=Usage(10))),
    ]


def _manifest(lines: list[Outcome], document: BatchDocument = DOCUMENT) -> Manifest:
    tally = Tally()
    for line in lines:
        tally.add(line)
    return _built(tally, document)


def _built(tally: Tally, document: BatchDocument = DOCUMENT) -> Manifest:
    return build_manifest(
        document,
        tally,
        status=State.COMPLETED,
        finished_s=NOW_S + 60,
        files=FILES,
        book=WORLD.book,
        catalog=WORLD.catalog,
    )


def test_the_published_schema_is_the_one_of_the_code() -> None:
    """Users validate against the file; when the manifest changes, `make schema` writes it anew."""
    published = Path(__file__).parents[3] / "docs" / "manifest.schema.json"
    assert published.read_bytes() == schema_bytes()


def test_a_manifest_satisfies_its_schema() -> None:
    schema: dict[str, Any] = orjson.loads(schema_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    document = orjson.loads(_manifest(_lines()).encode())
    assert list(validator.iter_errors(document)) == []
    assert list(validator.iter_errors(document | {"cost": document["cost"] | {"usd": 0.1}}))


def test_the_members_that_the_outside_relies_on_are_there() -> None:
    document = orjson.loads(_manifest(_lines()).encode())
    counts = {"total": 4, "completed": 3, "failed": 1, "cancelled": 0, "attempts": 5, "retries": 0, "fallbacks": 1}
    assert counts.items() <= document["counts"].items()
    assert document["usage"] == {
        "input_tokens": 3110,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 101,
        "reasoning_tokens": 0,
    }
    cost = document["cost"]
    expected = {
        "usd": "0.005413",
        "complete": True,
        "failed_attempts_usd": "0.000103",
        "maybe_billed_usd": "0",
        "max_usd": "5.00",
        "unpriced": [],
    }
    assert expected.items() <= cost.items()
    dearest, other = cost["by_route"]
    assert (dearest["provider"], dearest["model"], dearest["usd"], dearest["requests"]) == ("beta", "large", "0.004", 1)
    assert (other["usd"], other["requests"], other["failed_requests"], other["failed_usd"]) == (
        "0.001413",
        2,
        1,
        "0.000103",
    )
    assert other["unit_prices"] == {"input": "1", "output": "3"}
    assert (other["price_source"], other["price_date"], other["tier"]) == ("configuration", "2026-11-18", "standard")
    assert (document["metadata"], document["errors"]) == ({"team": "search"}, {"content_filter": 1})
    assert (document["latency_s"]["max"], document["created_at"]) == (0.5, "2026-11-18T11:06:40.000Z")


def test_lines_and_routes_add_up_to_the_total_exactly() -> None:
    lines = _lines()
    manifest = _manifest(lines)
    on_lines = [loads(encode_outcome("batch_1", line))["bucketline"]["cost_usd"] for line in lines]
    assert sum(map(Decimal, on_lines)) == Decimal(manifest.cost.usd)
    assert sum(Decimal(row.usd or 0) for row in manifest.cost.by_route) == Decimal(manifest.cost.usd)


def test_the_same_facts_give_the_same_bytes_and_bytes_give_the_facts_back() -> None:
    manifest = _manifest(_lines())
    assert manifest.encode() == _manifest(_lines()[::-1]).encode()
    assert Manifest.parse(manifest.encode()) == manifest


def test_saved_is_what_the_same_tokens_would_have_cost_elsewhere() -> None:
    """Line 2 went to beta for 0.004 and would have cost 0.002 at alpha, the first; all at beta: 0.006826."""
    saved = _manifest(_lines()).cost.saved
    assert saved is not None
    assert (saved.against_first_usd, saved.against_dearest_usd) == ("-0.002", "0.001413")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (_call("alpha/stranger", usage=Usage(10)), "No price is known for stranger; add it under [prices]."),
        (_call("alpha/small"), "1 answer came without usage."),
    ],
)
def test_a_bill_that_is_not_complete_says_so_and_why(call: Attempt, reason: str) -> None:
    manifest = _manifest([*_lines(), _line(5, call)])
    assert not manifest.cost.complete
    assert manifest.cost.usd == "0.005413"
    assert incomplete_reasons(manifest.cost) == [reason]
    assert reason in manifest_text(manifest)


def test_a_call_that_may_have_been_billed_is_shown_as_a_range() -> None:
    maybe = WORLD.book.maybe_cost(WORLD.route("alpha/small"), input_tokens=1000, output_tokens=1000, when_s=NOW_S)
    lost = _call("alpha/small", "connection_lost", cost=maybe, billed="maybe")
    manifest = _manifest([_line(1, lost, code=Code.CONNECTION)])
    assert (manifest.cost.usd, manifest.cost.maybe_billed_usd, manifest.cost.complete) == ("0", "0.004", False)
    assert (manifest.cost.maybe_billed.low_usd, manifest.cost.maybe_billed.high_usd) == ("0", "0.004")
    assert incomplete_reasons(manifest.cost) == ["1 call broke off and may have been billed, for 0.004 USD at most."]
    unknown = _call("alpha/stranger", "connection_lost", cost=Cost(0, None), billed="maybe")
    manifest = _manifest([_line(1, lost, unknown, code=Code.CONNECTION)])
    assert (manifest.cost.maybe_billed_usd, manifest.cost.maybe_billed.high_usd) == ("0.004", None)


def test_a_difference_to_a_gateways_own_charge_is_shown() -> None:
    there = WORLD.route("alpha/small")
    usage = Usage(1000)
    cost = WORLD.book.cost(there, served_model=None, usage=usage, when_s=NOW_S, reported_nanousd=1_500_000)
    manifest = _manifest([_line(1, _call("alpha/small", usage=usage, cost=cost))])
    (difference,) = manifest.cost.reported_differences
    assert (difference.reported_usd, difference.computed_usd, difference.requests) == ("0.0015", "0.001", 1)
    assert (manifest.cost.usd, manifest.cost.complete) == ("0.0015", True)
    assert "charged 0.0015 USD for 1 call that our prices put at 0.001 USD" in manifest_text(manifest)


def test_unit_prices_are_found_again_when_only_the_written_lines_are_left() -> None:
    """A worker that died had recorded lines and sealed nothing: whoever seals them has no price rows, only keys."""
    tally = Tally()
    for line in _lines():
        tally.add_line(loads(encode_outcome("batch_1", line)))
    assert tally.prices == {}
    assert _built(tally).encode() == _manifest(_lines()).encode()


def test_the_page_for_people_survives_any_name() -> None:
    """Model names and metadata come from outside; a table row and a heading stay what they are."""
    document = DOCUMENT.model_copy(update={"source": "in`box\n# x", "options": BatchOptions(metadata={"a|b": "<c>\n"})})
    line = _line(1, _call("alpha/str|anger\n", usage=Usage(10)))
    page = manifest_text(_manifest([line], document))
    assert "From `in'box # x`, " in page
    assert "| alpha/str\\|anger | standard |" in page
    assert "Metadata: a\\|b=&lt;c>." in page


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"null", b'{"version": 2}'])
def test_what_is_no_manifest_is_refused_in_a_sentence(raw: bytes) -> None:
    with pytest.raises(BadManifest, match=r"^The manifest cannot be read: .*\.$"):
        Manifest.parse(raw)


def test_members_of_a_later_version_are_passed_over() -> None:
    manifest = _manifest(_lines())
    later = orjson.loads(manifest.encode()) | {"carbon_g": 3}
    later["cost"]["currency"] = "USD"
    assert Manifest.parse(orjson.dumps(later)) == manifest
