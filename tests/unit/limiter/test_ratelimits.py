"""Rate-limit headers in every spelling mean the same record; nonsense means nothing."""

from __future__ import annotations

import pytest

from bucketline.catalog import Limits
from worker.limiter.ratelimits import Reading, read_limits, reset_s, whose

DATE = "Tue, 25 Nov 2025 08:42:00 GMT"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3s", 3723),
        ("2m59.56s", 179.56),
        ("7.66s", 7.66),
        ("60", 60),
        ("0.5", 0.5),
        ("-3", 0),
        ("2025-11-25T08:43:00Z", 60),
        ("2025-11-25T09:43:00+01:00", 60),
        ("1764060180", 60),
        ("1764060180000", 60),
        ("2025-11-25T08:41:00Z", 0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1d", None),
    ],
)
def test_a_reset_in_every_spelling(text: str, seconds: float | None) -> None:
    assert reset_s(text, DATE) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


def test_a_time_of_day_without_the_answers_date_says_nothing() -> None:
    """This machine's clock may be wrong; it is never asked."""
    assert reset_s("2025-11-25T08:43:00Z", None) is None


@pytest.mark.parametrize(
    ("headers", "readings"),
    [
        (
            {
                "X-RateLimit-Limit-Requests": "10000",
                "x-ratelimit-remaining-requests": "9999",
                "x-ratelimit-reset-requests": "6ms",
                "x-ratelimit-limit-tokens": "200000",
                "x-ratelimit-remaining-tokens": "199000",
                "x-ratelimit-reset-tokens": "300ms",
            },
            [Reading("requests", 10000, 9999, 0.006), Reading("tokens", 200000, 199000, 0.3)],
        ),
        (
            {
                "anthropic-ratelimit-output-tokens-limit": "8000",
                "anthropic-ratelimit-output-tokens-remaining": "7000",
                "anthropic-ratelimit-output-tokens-reset": "2025-11-25T08:42:10Z",
                "anthropic-priority-input-tokens-limit": "5",
            },
            [Reading("output_tokens", 8000, 7000, 10)],
        ),
        ({"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "3"}, [Reading("requests", 20, 3)]),
        ({"x-tokenlimit-limit": "900", "x-tokenlimit-remaining": "8"}, [Reading("tokens", 900, 8)]),
        ({"x-litellm-key-remaining-tokens-gpt-4o": "77"}, [Reading("tokens", None, 77)]),
        ({"llm_provider-x-ratelimit-remaining-requests": "5"}, [Reading("requests", None, 5)]),
        ({"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "0"}, []),
        ({"x-ratelimit-remaining-requests": "-1"}, []),
        ({"x-ratelimit-remaining-requests": "many"}, []),
        ({"content-type": "application/json", "x-request-id": "limit"}, []),
    ],
)
def test_headers_of_every_provider(headers: dict[str, str], readings: list[Reading]) -> None:
    assert read_limits({"Date": DATE, **headers}) == readings


@pytest.mark.parametrize(
    ("reading", "answer"),
    [
        (Reading("requests", 10000, 9990, 0.06), True),
        (Reading("requests", 14400, 14370, 180.0), False),
        (Reading("requests", 10000, 9999, 8.64), None),
        (Reading("requests", 6000, 5999, 59.9), None),
        (Reading("requests", 6000, 6000, 0.0), None),
        (Reading("requests", 6000, 10, None), None),
    ],
)
def test_a_figure_per_day_is_not_taken_for_one_per_minute(reading: Reading, answer: bool | None) -> None:
    """Groq's and OpenAI's request limits may be those of a day under the same name."""
    assert reading.per_minute is answer


@pytest.mark.parametrize(
    ("account", "own", "named", "place"),
    [
        (Limits(rpm=100), Limits(rpm=10), "requests", 1),
        (Limits(rpm=100, concurrency=5), Limits(tpm=10), "tokens", 1),
        (Limits(rpm=100, concurrency=5), Limits(tpm=10), "requests", 0),
        (Limits(rpm=100, concurrency=5), Limits(tpm=10), "concurrency", 0),
        (Limits(rpd=100), Limits(tpm=10), "day", 0),
        (Limits(rpm=100), Limits(output_tpm=10), "tokens", 1),
        (Limits(), Limits(tpm=10), "requests", 1),
        (Limits(rpm=100), Limits(tpm=10), None, 1),
    ],
)
def test_a_limit_is_the_models_own_unless_only_the_account_has_it(
    account: Limits, own: Limits, named: str | None, place: int
) -> None:
    """One model's refusal must not stop the account's other models."""
    assert whose([("a", account), ("a/m", own)], named) == place
    assert whose([("a", account)], named) == 0
