"""Other clients on the same file and server, each as its own documentation says, each in an environment of its own.

Called by ``bench.line``, which installs them (``environments``) and runs this file with their Python:

    PYTHON bench/peers.py NAME INPUT OUTPUT BASE_URL CONNECTIONS

Reads the JSON lines, sends all, writes one line for each, and prints one JSON document: requests, seconds and CPU
seconds from before reading the input to the closed output, imports and client left out. Imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

#: name → what pip installs
PACKAGES = {
    "flexllm": "flexllm",
    "async_batch_llm": "async-batch-llm[openai]",
    "openai": "openai",
    "litellm": "litellm",
    "curator": "bespokelabs-curator",
}
KEY = "sk-bench"


def used_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Job:
    """One run of one client."""

    def __init__(self, source: str, target: str, url: str, connections: int) -> None:
        self.source, self.target, self.url, self.connections = Path(source), Path(target), url, connections
        self.began_s = self.cpu_s = 0.0
        self.lines = 0

    def begin(self) -> None:
        self.began_s, self.cpu_s = time.monotonic(), used_s()

    def rows(self) -> Iterator[dict[str, Any]]:
        with self.source.open() as file:
            for line in file:
                yield json.loads(line)

    def end(self, failed: int) -> None:
        if failed or not self.lines:
            raise SystemExit(f"{failed} of {self.lines} calls failed")
        said = {"requests": self.lines, "seconds": time.monotonic() - self.began_s, "cpu_s": used_s() - self.cpu_s}
        print(json.dumps(said), flush=True)

    async def gather(self, call: Callable[..., Awaitable[Any]]) -> None:
        """The recipe of every tutorial: a semaphore, and gather over all lines."""
        turn = asyncio.Semaphore(self.connections)
        failed = 0
        self.begin()
        with self.target.open("w") as out:

            async def one(row: dict[str, Any]) -> None:
                nonlocal failed
                async with turn:
                    try:
                        answer = await call(**row["body"])
                    except Exception:
                        failed += 1
                    else:
                        out.write(json.dumps({"custom_id": row["custom_id"], "response": answer.model_dump()}) + "\n")
                self.lines += 1

            await asyncio.gather(*(one(row) for row in list(self.rows())))
        self.end(failed)


async def openai(job: Job) -> None:
    import httpx2
    import openai as sdk

    bounds = httpx2.Limits(max_connections=job.connections, max_keepalive_connections=job.connections)
    http = sdk.DefaultAsyncHttpx2Client(limits=bounds)
    client = sdk.AsyncOpenAI(base_url=job.url, api_key=KEY, http_client=http, max_retries=3, timeout=120)
    await job.gather(client.chat.completions.create)


async def litellm(job: Job) -> None:
    import litellm as library

    library.suppress_debug_info, library.telemetry = True, False
    model = {"model": "openai/gpt-4o-mini", "api_base": job.url, "api_key": KEY}
    router = library.Router(
        model_list=[{"model_name": "gpt-4o-mini", "litellm_params": model}],
        num_retries=3,
        default_max_parallel_requests=None,
    )
    await job.gather(router.acompletion)


async def async_batch_llm(job: Job) -> None:
    import async_batch_llm as library

    strategy = library.llm(
        "openai-compatible:gpt-4o-mini",
        base_url=job.url,
        api_key=KEY,
        max_connections=job.connections,
        system_instruction="You are terse.",
        temperature=0.0,
        generation_config={"max_tokens": 64},
    )
    room = 4 * job.connections
    settings = library.ProcessorConfig(concurrency=job.connections, max_queue_size=room, max_result_queue_size=room)
    failed = 0
    job.begin()
    items = ((row["custom_id"], row["body"]["messages"][-1]["content"]) for row in job.rows())
    with job.target.open("w") as out:
        async for result in library.process_stream(strategy, items, config=settings):
            job.lines += 1
            failed += not result.success
            said = {"custom_id": result.item_id, "content": result.output, "usage": dict(result.token_usage or {})}
            out.write(json.dumps(said) + "\n")
    job.end(failed)


async def flexllm(job: Job) -> None:
    from flexllm import LLMClient

    client = LLMClient(
        model="gpt-4o-mini", base_url=job.url, api_key=KEY, concurrency_limit=job.connections, retry_times=3
    )
    failed = 0
    job.begin()
    rows = list(job.rows())
    own = job.target.with_suffix(".own.jsonl")
    with job.target.open("w") as out:
        async for index, result in client.chat_batch_iter(
            [row["body"]["messages"] for row in rows], output_jsonl=str(own), max_tokens=64, temperature=0.0
        ):
            job.lines += 1
            failed += not result.ok
            out.write(json.dumps({"custom_id": rows[index]["custom_id"], "content": result.content}) + "\n")
    own.unlink(missing_ok=True)
    job.end(failed)


def curator(job: Job) -> None:
    import importlib.util

    # Offline: the encoding that LiteLLM carries instead of one from the network, no telemetry, no display.
    litellm_at = Path(str(importlib.util.find_spec("litellm").origin)).parent  # type: ignore[union-attr]
    encodings = next(litellm_at.rglob("9b5ad71b2ce5302211f9c61530b329a4922fc6a4"), None)
    if encodings is not None:
        os.environ["TIKTOKEN_CACHE_DIR"] = str(encodings.parent)
    os.environ |= {"TELEMETRY_ENABLED": "false", "CURATOR_DISABLE_RICH_DISPLAY": "1", "HF_HUB_OFFLINE": "1"}
    from bespokelabs import curator as library
    from datasets import Dataset

    class Chat(library.LLM):  # type: ignore[misc]
        def prompt(self, row: dict[str, Any]) -> list[dict[str, str]]:
            return [{"role": "system", "content": "You are terse."}, {"role": "user", "content": row["prompt"]}]

        def parse(self, row: dict[str, Any], answer: Any) -> dict[str, Any]:
            return {"custom_id": row["custom_id"], "content": answer}

    bounds = {"base_url": job.url, "max_concurrent_requests": job.connections, "max_retries": 3}
    bounds |= {"max_requests_per_minute": 10**8, "max_tokens_per_minute": 10**10, "require_all_responses": False}
    chat = Chat(
        model_name="gpt-4o-mini",
        backend="openai",
        backend_params=bounds,
        generation_params={"max_tokens": 64, "temperature": 0.0},
    )
    with tempfile.TemporaryDirectory(prefix="curator-") as folder:
        job.begin()
        rows = [{"custom_id": row["custom_id"], "prompt": row["body"]["messages"][-1]["content"]} for row in job.rows()]
        found = chat(Dataset.from_list(rows), working_dir=folder)
        with job.target.open("w") as out:
            for row in getattr(found, "dataset", found):
                job.lines += 1
                out.write(json.dumps({"custom_id": row["custom_id"], "content": row["content"]}) + "\n")
        job.end(len(rows) - job.lines)


CLIENTS: dict[str, Callable[[Job], Any]] = {
    "flexllm": flexllm,
    "async_batch_llm": async_batch_llm,
    "openai": openai,
    "litellm": litellm,
    "curator": curator,
}


def main() -> None:
    logging.disable(logging.WARNING)
    os.environ.setdefault("OPENAI_API_KEY", KEY)
    name, source, target, url, connections = sys.argv[1:]
    done = CLIENTS[name](Job(source, target, url, int(connections)))
    if done is not None:
        asyncio.run(done)


if __name__ == "__main__":
    main()
