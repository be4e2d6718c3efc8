"""Words of strangers on a person's terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.shown import shown
from worker.logs import logger, set_up_logs


@given(st.text())
def test_what_is_shown_drives_no_terminal_and_says_all_the_rest(text: str) -> None:
    said = shown(text)
    assert all(sign in "\n\t" or not ("\x00" <= sign < " " or "\x7f" <= sign < "\xa0") for sign in said)
    assert not set(said) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert text.isprintable() is False or said == text


@given(st.text())
def test_a_json_document_stays_one(text: str) -> None:
    assert json.loads(shown(json.dumps({"a": text}, ensure_ascii=False, indent=2))) == {"a": text}


def test_a_log_on_a_terminal_spells_names(capsys: pytest.CaptureFixture[str]) -> None:
    """An uploader's object name is logged; whoever watches the worker must not be at its mercy."""
    try:
        set_up_logs(json=False)
        logger("x").info("taken", source="\x1b]0;mine\x07")
        said = capsys.readouterr().err
    finally:
        set_up_logs()
    assert "\\u001b]0;mine\\u0007" in said
    assert "\x07" not in said
