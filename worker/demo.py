"""The demo: simulated providers, a real line, a real bill.

Comes in: how many lines, a folder, a seed. Goes out: what ``run`` gives, and a last line that sets our bill against the
providers' own books. Everything but the providers is the real thing. Called by the command of the same name.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from rich.console import Console

from bucketline.batch import BatchOptions
from bucketline.errors import UsageError
from bucketline.manifest import Manifest
from bucketline.settings import Settings
from worker.local import LocalRun
from worker.logs import set_up_logs
from worker.screen import run_visibly
from worker.simulator import Simulator, bad_weather
from worker.supervise import run_loop

__all__ = ["demo_lines", "run_demo"]

_TOPICS = ("tides", "bees", "bridges", "rust", "bread", "glaciers", "chess", "sleep", "salt", "comets")
_ASKS = ("Explain {} to a child.", "Name three facts about {}.", "Write one sentence on {}.", "Is {} useful? Why?")


def run_demo(*, requests: int, output: Path | None, seed: int) -> int:
    """Run the demo; the exit code of the batch. Raises UsageError when the folder is not empty."""
    set_up_logs(level="ERROR")
    folder = output or Path(tempfile.mkdtemp(prefix="bucketline-demo-"))
    if output is not None and output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty; give a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "input.jsonl"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(demo_lines(requests))
    return run_loop(lambda: _demo(source, folder, seed))


def demo_lines(count: int) -> Iterator[str]:
    """Chat requests in OpenAI's batch form, every tenth with a JSON schema."""
    for number in range(count):
        ask = _ASKS[number % len(_ASKS)].format(_TOPICS[number // len(_ASKS) % len(_TOPICS)])
        body = {"model": "small", "messages": [{"role": "user", "content": f"{ask} ({number})"}], "max_tokens": 400}
        line = {"custom_id": f"demo-{number:05d}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        yield json.dumps(line) + "\n"


async def _demo(source: Path, folder: Path, seed: int) -> int:
    console = Console(file=sys.stderr, highlight=False)
    config = bad_weather(seed)
    async with Simulator(config) as simulator:
        settings = _settings(simulator)
        for name, provider in config.providers.items():
            os.environ[_key_variable(name)] = provider.keys["main"]
        console.print(
            f"Two simulated providers in bad weather: {', '.join(config.providers)}. The rest is the real line.",
            markup=False,
        )
        code = await run_visibly(LocalRun(str(source), folder, BatchOptions(metadata={"demo": "yes"})), settings)
        if (folder / "manifest.json").exists():
            manifest = Manifest.parse((folder / "manifest.json").read_bytes())
            console.print(_books(manifest, simulator), markup=False)
    return code


def _settings(simulator: Simulator) -> Settings:
    """One model, served by alpha and, when alpha fails, by beta; limits and prices as the providers have them."""
    config = simulator.config
    providers, prices = {}, {}
    for name, provider in config.providers.items():
        limits = provider.limits
        per_minute = None if limits.rpm is None else int(limits.rpm * 60 / limits.window_s)
        providers[name] = {
            "wire": "openai",
            "base_url": simulator.base_url(name),
            "api_key_env": _key_variable(name),
            "rpm": per_minute,
            "concurrency": limits.concurrency,
        }
        price = provider.models[f"{name}-small"].prices
        assert price is not None
        prices[f"{name}/{name}-small"] = {
            "input": price.input,
            "output": price.output,
            "cached_input": price.cached_input,
        }
    routes = [{"provider": name, "model": f"{name}-small"} for name in providers]
    return Settings.model_validate(
        {"providers": providers, "prices": prices, "models": {"small": {"routes": routes, "policy": "weighted"}}}
    )


def _key_variable(name: str) -> str:
    return f"BUCKETLINE_DEMO_{name.upper()}_KEY"


def _books(manifest: Manifest, simulator: Simulator) -> str:
    """Our bill beside the providers' own."""
    totals = simulator.books()["totals"]
    ours, most = manifest.cost.usd, Decimal(manifest.cost.usd) + Decimal(manifest.cost.maybe_billed_usd)
    return f"The providers' own books say ${totals['usd']}, ${totals['lost_usd']} of it for answers that never arrived; ours say ${ours}, and ${most} with calls that may have been billed."
