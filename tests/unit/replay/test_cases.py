"""Reading cases, telling the product of them, and what the table's end means."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bucketline.catalog import Catalog
from bucketline.settings import load_settings
from tests.replay.__main__ import main
from tests.replay.adapter import Bucketline
from tests.replay.asserts import Verdict
from tests.replay.case import Case, NoCases, find_cases, load_case, variants_of
from tests.replay.items import Batch, answer_text, file_item
from tests.replay.report import Outcome, Result, failures_that_count, read_standing, show
from tests.replay.toml import toml

_CONFIG: dict[str, Any] = {
    "providers": {
        "alpha": {"api": "openai", "key": "secret-a", "limits": {"rpm": 6, "tpm": 1000, "concurrency": 2}},
        "gamma": {"api": "anthropic", "key": "secret-g"},
    },
    "models": {
        "orion-4.5": {
            "provider": "alpha",
            "prices_per_mtok": {"input": "2.00", "tiers": [{"over_input_tokens": 1000, "input": "4.00"}]},
            "fallbacks": ["gamma-chat"],
        },
        "gamma-chat": {
            "provider": "gamma",
            "hints": {"rename": {"max_tokens": "max_out"}, "drop": ["seed"], "default_max_tokens": 9},
        },
    },
    "retry": {"max_attempts": 2, "base_delay_s": 0.05, "max_delay_s": 0.5},
    "request_timeout_s": 5,
    "worker": {"processes": 2, "job_timeout_s": 30},
}


def _write(folder: Path, number: str = "90", **scenario: Any) -> Path:
    folder.mkdir(parents=True)
    document = {"config": _CONFIG, "steps": [], "max_s": 10, **scenario}
    (folder / "case.json").write_text(json.dumps({"id": number, "slug": folder.name}))
    (folder / "scenario.json").write_text(json.dumps(document))
    (folder / "expected.json").write_text(json.dumps({"asserts": []}))
    return folder


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return load_case(_write(tmp_path / "one"))


def _product(case: Case, folder: Path) -> Bucketline:
    product = Bucketline(case, folder, None, "some-bucket")
    addresses = {"alpha": "http://127.0.0.1:1001", "gamma": "http://127.0.0.1:1002"}
    product.configure(addresses, "redis://127.0.0.1:1003/0", "http://127.0.0.1:1004")
    return product


def test_the_product_takes_the_configuration_that_we_write(case: Case, tmp_path: Path) -> None:
    """Read with the product's own reader, which refuses unknown keys."""
    product = _product(case, tmp_path)
    settings = load_settings(str(tmp_path / "bucketline.toml"), {})
    plan = Catalog(settings).plan("orion-4.5")
    assert [route.name for route in plan.routes] == ["alpha/orion-4.5", "gamma/gamma-chat"]
    assert plan.routes[0].provider.base_url == "http://127.0.0.1:1001/v1"
    assert plan.routes[1].provider.base_url == "http://127.0.0.1:1002"
    assert plan.routes[1].unset == ("seed",)
    assert plan.routes[1].rename == {"max_tokens": "max_out"}
    assert settings.providers["alpha"].rpm == 6
    assert (settings.retry.max_attempts, settings.retry.request_timeout_s) == (2, 5)
    assert settings.worker.job_timeout_s == 30
    assert "alpha/orion-4.5" in settings.prices
    assert "gamma/gamma-chat" not in settings.prices
    assert product.work()[1:] == ["work", "--inbox", "--processes", "2"]


def test_no_key_stands_in_the_configuration(case: Case, tmp_path: Path) -> None:
    """Only the name of the variable does; the variable is set for the product alone."""
    product = _product(case, tmp_path)
    assert "secret" not in (tmp_path / "bucketline.toml").read_text()
    variable = load_settings(str(tmp_path / "bucketline.toml"), {}).providers["alpha"].api_key_env
    assert variable is not None
    assert product.env[variable] == "secret-a"


def test_the_machines_own_settings_do_not_reach_the_product(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy or a profile that lies about would make the replay a matter of where it runs."""
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("BUCKETLINE_STORE", "elsewhere")
    env = _product(case, tmp_path).env
    assert not {"AWS_PROFILE", "HTTP_PROXY", "BUCKETLINE_STORE"} & env.keys()
    assert env["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:1004"


def test_the_weather_speaks_of_the_products_objects(tmp_path: Path) -> None:
    """The inbox has another name there."""
    fault = {"op": "PutObject", "key": "*", "except_key": "in/*", "first_n": 8, "reply": {}}
    case = load_case(_write(tmp_path / "one", s3={"max_list_keys": 2, "faults": [fault]}))
    weather = Bucketline(case, tmp_path, None, "b").weather()
    assert weather["faults"] == [{**fault, "except_key": "inbox/*"}]
    assert weather["max_list_keys"] == 2


def test_a_status_document_becomes_batches_oldest_first() -> None:
    """Neutral states; a completed batch with failed lines says so."""
    entry = {
        "id": "b2",
        "source": "inbox/x.jsonl",
        "status": "completed",
        "counts": {"total": 3, "completed": 2, "failed": 1, "cancelled": 0},
        "percent": 100.0,
        "created_at": "2026-01-02T00:00:01.500Z",
    }
    older = {**entry, "id": "b1", "status": "validating", "created_at": "2026-01-02T00:00:00Z"}
    first, second = Bucketline.read_status(json.dumps({"batches": [entry, older]})) or [None, None]
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert (first.id, first.state, first.final) == ("b1", "queued", False)
    assert (second.key, second.state, second.final) == ("in/x.jsonl", "completed_with_errors", True)
    assert second.figures == {"total": 3, "ok": 2, "failed": 1}
    assert Bucketline.read_status("Traceback …") is None


@pytest.mark.parametrize(
    ("key", "ignored"),
    [
        ("in/a.jsonl", False),
        ("in/deep/a.jsonl.gz", False),
        ("in/a.jsonl.part", True),
        ("in/notes.txt", True),
        ("elsewhere/a.jsonl", True),
        ("in/.hidden.jsonl", True),
    ],
)
def test_what_the_product_passes_over_is_not_waited_for(key: str, ignored: bool) -> None:
    """Otherwise a case with an unfinished upload would never end."""
    assert Bucketline.ignores(key) is ignored


def test_lines_are_counted_under_both_ways_of_splitting() -> None:
    """A record with a raw U+2028 is whole for one reader and two halves for another."""
    data = '{"a": "x\u2028y"}\n{"b": NaN}\n{"c": 1}\n'.encode()
    item = file_item("batches/b/output.jsonl", "results", data)
    assert (item["bad_json_lines_lf"], item["bad_json_lines_universal"]) == (1, 3)
    assert file_item("k", "errors", b"")["bad_json_lines_lf"] == 0
    assert file_item("k", "results", b"{}\n\n{}\n")["bad_json_lines_lf"] == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": [{"message": {"content": "a"}}]}, "a"),
        ({"choices": [{"text": "b"}]}, "b"),
        ({"content": [{"type": "text", "text": "c"}, {"type": "tool_use"}]}, "c"),
        ({"output": [{"type": "reasoning"}, {"content": [{"text": "d"}]}]}, "d"),
        ({"data": [{"embedding": [1]}]}, None),
        ({"choices": [{"message": {"content": None}}]}, None),
        ({"error": {"message": "no"}}, None),
        ("<html>", None),
    ],
)
def test_an_answers_text_is_found_in_every_form(body: object, text: str | None) -> None:
    """Asserts speak of the text, not of where it stands."""
    assert answer_text(body) == text


_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-. ü", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b-c", "d.e", "with space"]), _VALUES, max_size=4))
def test_what_we_write_as_toml_is_read_back(document: dict[str, Any]) -> None:
    """By the standard reader, whatever stands in names and values."""
    assert tomllib.loads(toml(document)) == document


def test_cases_are_found_slow_ones_first(tmp_path: Path) -> None:
    """A folder of cases and a case's own folder both do; the long ones must not come last."""
    _write(tmp_path / "all" / "a", "01")
    slow = _write(tmp_path / "all" / "b", "02")
    (slow / "case.json").write_text(json.dumps({"id": "02", "slug": "b", "slow": True}))
    assert [case.id for case in find_cases([tmp_path / "all", slow])] == ["02", "01"]


def test_a_variant_generates_its_lines(tmp_path: Path) -> None:
    """In place of the input's file, with its own asserts and a limit that grows with the lines."""
    plan = {"count": 50, "id": "gen-{n:03d}", "tag": "g{n:03d}", "reply_delay_s": 0.1}
    folder = _write(tmp_path / "one", variants=[{"name": "large", "generate": plan, "asserts": [{"id": "V1"}]}])
    [variant] = variants_of(load_case(folder))
    lines = variant.data("input.jsonl").splitlines()
    assert variant.name == "90-one+large"
    assert len(lines) == 50
    assert json.loads(lines[6])["custom_id"] == "gen-007"
    assert b"tag:g007 " in lines[6]
    assert variant.replies["orion-4.5"]["else"] == [{"ok": {"delay_s": 0.1}}]
    assert variant.asserts == ({"id": "V1"},)
    assert variant.max_s > 10


@pytest.mark.parametrize("broken", ["case.json", "scenario.json", "expected.json"])
def test_a_broken_case_is_named(tmp_path: Path, broken: str) -> None:
    """One sentence with the file's name."""
    folder = _write(tmp_path / "one")
    (folder / broken).write_text("{")
    with pytest.raises(NoCases, match=broken):
        load_case(folder)


def test_a_case_of_another_format_is_refused(tmp_path: Path) -> None:
    """Half-understood cases would pass by chance."""
    with pytest.raises(NoCases, match="format 2"):
        load_case(_write(tmp_path / "one", format=2))


def test_nothing_to_play_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and where to say what."""
    monkeypatch.setenv("BUCKETLINE_CASES", str(tmp_path / "nowhere"))
    assert main([]) == 2
    assert "BUCKETLINE_CASES" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert f"There are no cases in {tmp_path}" in capsys.readouterr().err


def test_only_failures_that_nobody_knew_of_count(tmp_path: Path) -> None:
    """A case that does not stand in the list counts: that is how new ones are judged."""
    path = tmp_path / "standing.txt"
    path.write_text("# a remark\n01-a passes\n02-b lacks telepathy\n\n")
    standing = read_standing(path)
    assert standing == {"01-a": "", "02-b": "telepathy"}
    results = [Result(name, Outcome.FAIL, 1.0) for name in ("01-a", "02-b", "03-new")]
    results.append(Result("04-other", Outcome.NOT_APPLICABLE, 0.0))
    assert [each.name for each in failures_that_count(results, standing)] == ["01-a", "03-new"]


def test_the_table_tells_musts_and_shoulds_apart() -> None:
    """With what was seen, the policy taken and the time."""
    verdicts = (
        Verdict("E1", "must", False, "rows count eq 6: saw 5"),
        Verdict("E2", "should", False, "calls count le 4: saw 8"),
        Verdict("E3", "must", True, "", "billed once"),
    )
    console = Console(width=160, record=True, file=io.StringIO())
    show([Result("01-a", Outcome.FAIL, 12.34, verdicts)], {}, console)
    said = console.export_text()
    for words in ("E1: rows count eq 6: saw 5", "E2: calls count le 4: saw 8", "“billed once”", "12.3", "1 fail."):
        assert words in said
    assert "E3" not in said


def test_the_list_that_we_ship_can_be_read() -> None:
    """Every line of it is a name with how it stands."""
    assert all(name[0].isdigit() for name in read_standing())
