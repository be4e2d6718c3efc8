"""Keys are found, kept to themselves, fetched once for all, and renewed before they run out."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bucketline.catalog import Catalog
from bucketline.errors import ConfigError
from bucketline.settings import Settings
from tests.samples import chat_line, provider, route
from worker.credentials import Credentials
from worker.providers import Call, adapter_for


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_comes_from_its_variable() -> None:
    credentials = Credentials({"ALPHA_API_KEY": " sk-1\n"})
    assert await credentials.key(provider(api_key_env="ALPHA_API_KEY")) == "sk-1"


async def test_a_missing_key_is_one_sentence_that_names_the_variable() -> None:
    alpha = provider(api_key_env="ALPHA_API_KEY")
    with pytest.raises(ConfigError, match=r"^The provider 'alpha' needs a key: set the variable ALPHA_API_KEY\.$"):
        await Credentials({}).key(alpha)
    assert "ALPHA_API_KEY" in (Credentials({}).check(alpha) or "")
    assert Credentials({"ALPHA_API_KEY": "k"}).check(alpha) is None


async def test_a_host_without_a_key_needs_none() -> None:
    assert await Credentials({}).key(provider()) == ""


@pytest.mark.parametrize(("usual", "also"), [("LLMAPI_API_KEY", "LLM_API_KEY"), ("GEMINI_API_KEY", "GOOGLE_API_KEY")])
async def test_a_key_may_stand_under_the_other_name_that_its_provider_uses(usual: str, also: str) -> None:
    assert await Credentials({also: "k"}).key(provider(api_key_env=usual)) == "k"
    assert await Credentials({also: "k", usual: "first"}).key(provider(api_key_env=usual)) == "first"


def test_every_other_name_of_a_key_is_that_of_a_preset_that_is_judged_by_it_everywhere() -> None:
    """Doctor, the check before a submit and the worker ask one list, so none calls a key missing that another finds."""
    known = {name: Catalog(Settings()).provider(name).key_variables for name in ("google", "llmapi", "openai")}
    assert known == {
        "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "llmapi": ("LLMAPI_API_KEY", "LLM_API_KEY"),
        "openai": ("OPENAI_API_KEY",),
    }


async def test_a_key_file_is_read_again_after_a_while(tmp_path: Path) -> None:
    """Secrets are rotated under running workers."""
    file, clock = tmp_path / "key", Clock()
    file.write_text("old\n")
    credentials, alpha = Credentials({}, clock=clock), provider(api_key_file=str(file))
    assert await credentials.key(alpha) == "old"
    file.write_text("new\n")
    assert await credentials.key(alpha) == "old"
    clock.now += 60
    assert await credentials.key(alpha) == "new"


@pytest.mark.parametrize("content", [None, "", "two words", "snow\u2603man", "line\nbreak"])
async def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        await Credentials({}).key(provider(api_key_file=str(file)))
    assert str(file) in str(caught.value)
    assert not content or content not in str(caught.value)


async def test_credentials_show_no_key() -> None:
    credentials = Credentials({"ALPHA_API_KEY": "sk-secret"})
    await credentials.key(provider(api_key_env="ALPHA_API_KEY"))
    assert "secret" not in repr(credentials)


class Google:
    """Stands where google-auth would block; counts how often it is asked, and waits to be let through."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.asked, self.open, self.fails = clock, 0, threading.Event(), False

    def __call__(self, _provider: Any) -> tuple[str, float]:
        assert self.open.wait(10)
        self.asked += 1
        if self.fails:
            raise ConfigError("no token")
        return f"ya29.{self.asked}", self.clock.now + 3600


VERTEX = provider("vertex", project="p", name="vertex")


async def test_one_token_is_fetched_for_all_who_wait_and_the_loop_goes_on_meanwhile() -> None:
    clock = Clock()
    google = Google(clock)
    credentials = Credentials({}, clock=clock, google=google)
    waiting = [asyncio.create_task(credentials.key(VERTEX)) for _ in range(200)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    google.open.set()
    assert set(await asyncio.gather(*waiting)) == {"ya29.1"}
    assert google.asked == 1


async def test_a_token_is_replaced_some_minutes_before_it_runs_out() -> None:
    clock = Clock()
    google = Google(clock)
    google.open.set()
    credentials = Credentials({}, clock=clock, google=google)
    assert await credentials.key(VERTEX) == "ya29.1"
    clock.now += 3000
    assert await credentials.key(VERTEX) == "ya29.1"
    clock.now += 400
    assert await credentials.key(VERTEX) == "ya29.2"


async def test_a_waiter_that_gives_up_takes_the_token_from_nobody() -> None:
    clock = Clock()
    google = Google(clock)
    credentials = Credentials({}, clock=clock, google=google)
    first, second = (asyncio.create_task(credentials.key(VERTEX)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    google.open.set()
    assert await second == "ya29.1"


async def test_a_failed_fetch_is_told_to_all_and_tried_anew_by_the_next() -> None:
    clock = Clock()
    google = Google(clock)
    google.open.set()
    google.fails = True
    credentials = Credentials({}, clock=clock, google=google)
    results = await asyncio.gather(*(credentials.key(VERTEX) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [ConfigError] * 5
    google.fails = False
    assert (await credentials.key(VERTEX)).startswith("ya29.")


async def test_a_token_that_the_provider_calls_expired_is_forgotten() -> None:
    clock = Clock()
    google = Google(clock)
    google.open.set()
    credentials = Credentials({}, clock=clock, google=google)
    await credentials.key(VERTEX)
    credentials.forget(VERTEX)
    assert await credentials.key(VERTEX) == "ya29.2"


BEDROCK = provider("bedrock", region="eu-west-1", name="bedrock")
MODEL = "anthropic.claude-sonnet-4-6-v1:0"


def bedrock_call(key: str = "") -> Call:
    call = adapter_for("bedrock").call(chat_line(), route("bedrock", MODEL, region="eu-west-1"), key)
    assert isinstance(call, Call)
    return call


async def test_a_bedrock_call_is_signed_with_the_machines_aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    signed = await Credentials({}).sign(bedrock_call(), BEDROCK)
    assert "/eu-west-1/bedrock/aws4_request" in signed.headers["Authorization"]
    assert signed.headers["X-Amz-Security-Token"] == "session"
    assert signed.body == bedrock_call().body
    assert "accept-encoding" not in signed.headers["Authorization"]


async def test_a_bedrock_call_with_a_key_of_its_own_is_not_signed() -> None:
    env = {"AWS_BEARER_TOKEN_BEDROCK": "ABSK-1"}
    credentials = Credentials(env, aws=lambda: pytest.fail("asked for AWS keys"))
    call = bedrock_call(await credentials.key(BEDROCK))
    assert await credentials.sign(call, BEDROCK) is call
    assert call.headers["Authorization"] == "Bearer ABSK-1"


async def test_missing_aws_keys_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        await Credentials({}, aws=lambda: None).sign(bedrock_call(), BEDROCK)


async def test_aws_keys_that_are_due_are_renewed_off_the_loop() -> None:
    """botocore blocks while it asks for a role's new keys."""
    threads: list[threading.Thread] = []

    def frozen() -> Any:
        threads.append(threading.current_thread())
        return SimpleNamespace(access_key="A", secret_key="s", token=None)

    keys = SimpleNamespace(refresh_needed=lambda: True, get_frozen_credentials=frozen)
    await Credentials({}, aws=lambda: keys).sign(bedrock_call(), BEDROCK)
    assert threads[0] is not threading.main_thread()


async def test_calls_of_other_wires_are_not_touched() -> None:
    call = Call("http://h", {}, b"{}")
    assert await Credentials({}).sign(call, provider()) is call
