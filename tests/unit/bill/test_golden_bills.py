"""Bills worked out by hand, in millionths of a dollar, from the providers' published prices.

Each line names where its usage comes from: a recorded answer, or the report of somebody who was billed wrongly by
another tool. Prices are USD per million tokens, so tokens times price is millionths of a dollar.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from bucketline.money import usd
from bucketline.usage import Usage
from tests.unit.bill.prices_for_tests import NOW_S, World

PRESETS = ("openai", "anthropic", "google", "vertex", "moonshot", "llmapi", "openrouter", "groq", "deepseek", "mistral")
STOP = Usage(input_tokens=1500, cached_input_tokens=1024, output_tokens=340, reasoning_tokens=300)
CLAUDE = Usage(
    input_tokens=1000, cached_input_tokens=600, cache_write_tokens=300, cache_write_1h_tokens=100, output_tokens=50
)

BY_HAND = [
    # the models of the first users: 476 fresh + 1,024 cached in, 340 out
    ("moonshot/kimi-k2-thinking", None, STOP, "476 * 0.60 + 1024 * 0.15 + 340 * 2.50", "0.0012892"),
    ("llmapi/moonshot/kimi-k2-thinking", None, STOP, "476 * 0.60 + 1024 * 0.15 + 340 * 2.50", "0.0012892"),
    ("openai/o3-mini", "o3-mini-2025-01-31", STOP, "476 * 1.10 + 1024 * 0.55 + 340 * 4.40", "0.0025828"),
    ("openai/gpt-4.1", "gpt-4.1-2025-04-14", STOP, "476 * 2.00 + 1024 * 0.50 + 340 * 8.00", "0.004184"),
    ("google/gemini-2.0-flash", None, STOP, "476 * 0.10 + 1024 * 0.025 + 340 * 0.40", "0.0002092"),
    (
        "anthropic/claude-3-7-sonnet-20250219",
        None,
        CLAUDE,
        "100 * 3.00 + 600 * 0.30 + 200 * 3.75 + 100 * 6.00 + 50 * 15.00",
        "0.00258",
    ),
    (
        "anthropic/claude-3-5-sonnet-latest",
        "claude-3-5-sonnet-20241022",
        CLAUDE,
        "100 * 3.00 + 600 * 0.30 + 200 * 3.75 + 100 * 6.00 + 50 * 15.00",
        "0.00258",
    ),
    # Gemini Pro: exactly 200,000 is not over it
    ("google/gemini-2.5-pro", None, Usage(200_000, output_tokens=100), "200000 * 1.25 + 100 * 10", "0.251"),
    ("google/gemini-2.5-pro", None, Usage(200_001, output_tokens=100), "200001 * 2.50 + 100 * 15", "0.5015025"),
    (
        "google/gemini-2.5-pro",
        None,
        Usage(250_000, 200_000, output_tokens=100),
        "50000 * 2.50 + 200000 * 0.25 + 100 * 15",
        "0.1765",
    ),
    # current models, from recorded answers
    ("openai/gpt-5.4-mini", "gpt-5.4-mini-2026-03-17", STOP, "476 * 0.75 + 1024 * 0.075 + 340 * 4.50", "0.0019638"),
    (
        "openai/gpt-5.4-mini",
        None,
        Usage(3000, cache_write_tokens=2944, output_tokens=20),
        "3000 * 0.75 + 20 * 4.50",
        "0.00234",  # writing costs nothing extra on this model
    ),
    (
        "openai/gpt-5.4-mini",
        None,
        Usage(70, output_tokens=220, reasoning_tokens=220),
        "70 * 0.75 + 220 * 4.50",
        "0.0010425",  # all of it reasoning, an empty answer, and billed
    ),
    ("openai/text-embedding-3-small", None, Usage(4), "4 * 0.02", "0.00000008"),
    ("openai/gpt-5.4", None, Usage(272_000, output_tokens=10), "272000 * 2.50 + 10 * 15", "0.68015"),
    ("openai/gpt-5.4", None, Usage(272_001, output_tokens=10), "272001 * 5.00 + 10 * 22.50", "1.36023"),
    (
        "anthropic/claude-sonnet-5",
        None,
        Usage(188_619, 188_086, 512, 512, 393, 300),
        "21 * 2 + 188086 * 0.20 + 512 * 4 + 393 * 10",
        "0.0436372",
    ),
    (
        "moonshot/kimi-k2.6",
        None,
        Usage(900, 768, output_tokens=30),
        "132 * 0.95 + 768 * 0.16 + 30 * 4.00",
        "0.00036828",
    ),
    ("moonshot/kimi-k2.6", None, Usage(80, output_tokens=1024), "80 * 0.95 + 1024 * 4.00", "0.004172"),
    ("google/gemini-3-flash-preview", None, STOP, "476 * 0.50 + 1024 * 0.05 + 340 * 3.00", "0.0013092"),
    ("vertex/gemini-3-flash-preview", None, STOP, "476 * 0.50 + 1024 * 0.05 + 340 * 3.00", "0.0013092"),
    (
        "google/gemini-3-flash-preview",
        None,
        Usage(2, output_tokens=31, reasoning_tokens=30),
        "2 * 0.50 + 31 * 3",
        "0.000094",
    ),
    ("openrouter/moonshotai/kimi-k2-thinking", None, Usage(30, output_tokens=12), "30 * 0.60 + 12 * 2.50", "0.000048"),
    (
        "groq/openai/gpt-oss-20b",
        None,
        Usage(30, 16, output_tokens=12),
        "14 * 0.075 + 16 * 0.0375 + 12 * 0.30",
        "0.00000525",
    ),
    ("mistral/mistral-small-latest", None, Usage(30, output_tokens=12), "30 * 0.15 + 12 * 0.60", "0.0000117"),
    ("deepseek/deepseek-v4-pro", None, STOP, "476 * 0.66 + 1024 * 0.022 + 340 * 1.98", "0.001009888"),
    # what others billed wrongly, with the figure that the provider's console showed
    (
        "anthropic/claude-3-7-sonnet-20250219",
        None,
        Usage(12_307, cache_write_tokens=12_304, output_tokens=550),
        "3 * 3.00 + 12304 * 3.75 + 550 * 15.00",
        "0.054399",  # BerriAI/litellm#9812 said 0.091311
    ),
    (
        "openai/gpt-4o",
        "gpt-4o-2024-08-06",
        Usage(2006, 1920, output_tokens=300),
        "86 * 2.50 + 1920 * 1.25 + 300 * 10.00",
        "0.005615",  # BerriAI/litellm#6215
    ),
    (
        "alpha/fireworks-like",
        None,
        Usage(27_147, 27_146, output_tokens=351),
        "1 * 1.40 + 27146 * 0.26 + 351 * 4.40",
        "0.00860376",  # BerriAI/litellm#31714
    ),
    (
        "alpha/opus-like",
        None,
        Usage(98_805, 66_360, 32_435, output_tokens=5120, reasoning_tokens=1710),
        "10 * 5.00 + 66360 * 0.50 + 32435 * 6.25 + 5120 * 25.00",
        "0.36394875",  # BerriAI/litellm#11364 said 0.04708
    ),
    (
        "alpha/mini-like",
        None,
        Usage(2000, 500, 300, output_tokens=0),
        "1200 * 3.00 + 500 * 0.30 + 300 * 3.75",
        "0.004875",  # browser-use/browser-use#5305
    ),
]
CONFIGURED = {
    "alpha/fireworks-like": {"input": "1.40", "cached_input": "0.26", "output": "4.40"},
    "alpha/opus-like": {"input": "5.00", "cached_input": "0.50", "cache_write": "6.25", "output": "25.00"},
    "alpha/mini-like": {"input": "3.00", "cached_input": "0.30", "cache_write": "3.75", "output": "15.00"},
}


@pytest.mark.parametrize(
    ("route", "served", "usage", "paper", "bill"), BY_HAND, ids=[f"{r[0]}={r[4]}" for r in BY_HAND]
)
def test_the_bill_is_the_one_worked_out_by_hand(
    route: str, served: str | None, usage: Usage, paper: str, bill: str
) -> None:
    world = World(CONFIGURED, providers={name: {"base_url": "http://127.0.0.1:9"} for name in PRESETS})
    cost = world.book.cost(world.route(route), served_model=served, usage=usage, when_s=NOW_S)
    assert usd(cost.nanousd) == bill
    terms = (term.split(" * ") for term in paper.split(" + "))
    assert sum(Decimal(tokens) * Decimal(price) for tokens, price in terms) / 10**6 == Decimal(bill)


def test_a_model_that_nobody_sells_any_more_is_unknown_where_no_price_is_kept() -> None:
    """Gemini 2.0 Pro never left its free preview: no price, so no figure; not that of its nearest sibling."""
    world = World(providers={"google": {}})
    cost = world.book.cost(world.route("google/gemini-2.0-pro-exp-02-05"), served_model=None, usage=STOP, when_s=NOW_S)
    assert cost.nanousd is None


def test_a_gateways_own_charge_counts_on_its_recorded_answer() -> None:
    """OpenRouter said 0.00014 for a call that its list price puts at 0.000048: both are kept, theirs counts."""
    world = World(providers={"openrouter": {}})
    route = world.route("openrouter/moonshotai/kimi-k2-thinking")
    cost = world.book.cost(
        route, served_model=None, usage=Usage(30, output_tokens=12), when_s=NOW_S, reported_nanousd=140_000
    )
    assert (usd(cost.nanousd), usd(cost.computed_nanousd)) == ("0.00014", "0.000048")
