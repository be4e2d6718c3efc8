"""What we write is what the official SDK reads: every answer parses under its own types."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tests.integration.e2e.conftest import Command, Simulation, results_in
from tests.integration.e2e.test_real_files import BATCHES, REAL, ready

__all__ = ["ready"]

TYPES: dict[str, Any] = {
    "chat.completion": ChatCompletion,
    "response": Response,
    "text_completion": Completion,
    "list": CreateEmbeddingResponse,
}
OPENAI_FORMS = [name for name in BATCHES if "gemini" not in name and "anthropic_lines" not in name]


@pytest.mark.parametrize("name", OPENAI_FORMS)
def test_every_body_parses_under_the_sdks_type(ready: Command, name: str, simulate: Callable[..., Simulation]) -> None:
    ready.run("run", str(REAL / name), "-o", "out", "--model", "some-model", code=None)
    results = results_in(ready.folder / "out")
    for row in results.output:
        body = row["response"]["body"]
        for item in body.get("data") or []:
            if isinstance(item.get("embedding"), str):  # the SDK's client unpacks base64 before it reads the type
                packed = base64.b64decode(item["embedding"])
                item["embedding"] = list(struct.unpack(f"<{len(packed) // 4}f", packed))
        TYPES[body["object"]].model_validate(body, strict=False)
