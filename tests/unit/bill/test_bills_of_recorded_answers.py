"""From a provider's recorded answer to the bill: read by its adapter, priced by the book, worked out by hand beside it.

Prices are USD per million tokens, so tokens times price is millionths of a dollar.
"""

from __future__ import annotations

import pytest

from bucketline.catalog import Route
from bucketline.money import usd
from tests.samples import line, samples
from tests.unit.bill.prices_for_tests import NOW_S, World
from worker.providers import Answer, adapter_for

RECORDED = {recorded.name: recorded for recorded in samples("response")}
#: fixture → route, bill; ``*`` marks a charge that the gateway named itself
BILLS = [
    (
        "moonshot/res.chat.k2_thinking",
        "moonshot/kimi-k2-thinking",
        "0.0012892",
    ),  # 476 × 0.60 + 1024 × 0.15 + 340 × 2.50
    ("llmapi/res.chat.stop", "llmapi/moonshot/kimi-k2-thinking", "0.0012892"),  # * the same, and so it says
    ("moonshot/res.chat.cached_details", "moonshot/kimi-k2.6", "0.00036828"),  # 132 × 0.95 + 768 × 0.16 + 30 × 4.00
    ("moonshot/res.chat.length_in_reasoning", "moonshot/kimi-k2.6", "0.004172"),  # 80 × 0.95 + 1024 × 4.00
    ("openai/res.chat.stop", "openai/gpt-5.4-mini", "0.0019638"),  # 476 × 0.75 + 1024 × 0.075 + 340 × 4.50
    ("openai/res.responses.completed", "openai/gpt-5.4-mini", "0.0019638"),  # the same in other words
    ("openai/res.chat.cache_write", "openai/gpt-5.4-mini", "0.00234"),  # 3000 × 0.75 + 20 × 4.50
    ("openai/res.chat.reasoning_ate_budget", "openai/gpt-5.4-mini", "0.0010425"),  # 70 × 0.75 + 220 × 4.50
    ("openai/res.chat.refusal", "openai/gpt-5.4-mini", "0.000093"),  # 70 × 0.75 + 9 × 4.50
    ("openai/res.embeddings", "openai/text-embedding-3-small", "0.00000008"),  # 4 × 0.02
    (
        "anthropic/res.message.end_turn",
        "anthropic/claude-sonnet-5",
        "0.0436372",
    ),  # 21 × 2 + 188086 × 0.2 + 512 × 4 + 393 × 10
    ("anthropic/res.message.max_tokens", "anthropic/claude-sonnet-5", "0.0008"),  # 80 × 2 + 64 × 10
    ("gemini/res.generate.stop", "google/gemini-3-flash-preview", "0.0013092"),  # 476 × 0.50 + 1024 × 0.05 + 340 × 3
    ("gemini/res.generate.tool_use_prompt", "google/gemini-3-flash-preview", "0.000516"),  # 960 × 0.50 + 12 × 3
    ("gemini/res.generate.max_tokens_no_parts", "google/gemini-3-flash-preview", "0.000202"),  # 20 × 0.50 + 64 × 3
    ("vertex/res.generate.stop", "vertex/gemini-3-flash-preview", "0.0013092"),  # as gemini
    ("compat/openrouter.res.chat", "openrouter/moonshotai/kimi-k2-thinking", "0.00014"),  # * ours would be 0.000048
    ("compat/groq.res.chat", "groq/openai/gpt-oss-20b", "0.00000525"),  # 14 × 0.075 + 16 × 0.0375 + 12 × 0.30
    ("compat/mistral.res.chat", "mistral/mistral-small-latest", "0.0000117"),  # 30 × 0.15 + 12 × 0.60
    ("compat/deepseek.res.chat", "deepseek/deepseek-v4-pro", "0.001009888"),  # 476 × 0.66 + 1024 × 0.022 + 340 × 1.98
    ("compat/together.res.chat", "together/moonshotai/Kimi-K2-Thinking", None),  # no price is published any more
    ("azure/res.chat.stop", "azure/gpt-5.4-mini", "0.00001575"),  # 9 × 0.75 + 2 × 4.50
]
HOSTS = {
    "openai": {},
    "anthropic": {},
    "google": {},
    "moonshot": {},
    "llmapi": {},
    "openrouter": {},
    "groq": {},
    "mistral": {},
    "deepseek": {},
    "together": {},
    "vertex": {"base_url": "https://aiplatform.googleapis.com", "project": "p", "region": "global"},
    "azure": {"base_url": "https://res1.openai.azure.com/openai/v1"},
}


@pytest.mark.parametrize(("name", "route", "bill"), BILLS, ids=[name for name, _, _ in BILLS])
def test_a_recorded_answer_costs_what_the_providers_price_list_says(name: str, route: str, bill: str | None) -> None:
    """Failed answers too: a refusal and a budget eaten by reasoning are on the invoice like any other."""
    world = World(providers=HOSTS)
    there: Route = world.route(route)
    recorded = RECORDED[name]
    result = adapter_for(there.provider.wire).read(recorded.reply, line(recorded.form, {}), there)
    assert result.usage is not None
    answer = result if isinstance(result, Answer) else None
    cost = world.book.cost(
        there,
        served_model=result.served_model,
        usage=result.usage,
        when_s=NOW_S,
        tier=(answer and answer.tier) or "standard",
        reported_nanousd=answer.reported_nanousd if answer else None,
    )
    assert usd(cost.nanousd) == bill
